"""State changes made by workers: claim, succeed, fail, release, recover.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from app.db.connection import columns, execute
from app.db.crud.embeddings import bits
from app.db.crud.new_predictions import categories_json, scores_json
from app.db.crud.queue_depth import REQUESTED_AT
from app.db.driver_internals import from_row
from app.db.errors import translate_connection_errors
from app.domain import (
    AttemptsExhausted,
    CategoryScore,
    Claim,
    Decision,
    ImageEmbedding,
    LabelScore,
    RetryPolicy,
    ServiceError,
)
from app.models.tortoise import Prediction

PreviousOwner = Literal["alive", "dead", "ours"]

# Attempts are counted at claim. One whose process died is an interruption instead: images run in the engine, so the
# death is rarely the image's doing. Interrupted predictions are tried one at a time, like those with a failed attempt.
# Rows are locked in ID order, here and below: otherwise statements on many rows would deadlock.
_CLAIM: Final = f"""
UPDATE predictions
SET status = 'processing', attempts = attempts + CASE WHEN status = 'pending' THEN 1 ELSE 0 END,
    interruptions = interruptions + CASE WHEN status = 'processing' AND $4 = 'dead' THEN 1 ELSE 0 END,
    started_at = now(), lease_expires_at = now() + $2::interval
WHERE id IN (
    SELECT id FROM predictions
    WHERE id = ANY($1) AND (
        (status = 'pending' AND attempts < $3 AND interruptions <= $5)
        OR ($4 = 'dead' AND status = 'processing' AND interruptions < $5)
        OR ($4 = 'ours' AND status = 'processing')
    )
    ORDER BY id FOR UPDATE SKIP LOCKED
)
RETURNING id, attempts, started_at, image_path, model, extract(epoch from now() - {REQUESTED_AT})::float8 AS waited
"""  # noqa: S608 - an expression of ours # nosec B608


@translate_connection_errors()
async def claim_all(
    prediction_ids: list[int],
    lease: timedelta,
    *,
    attempts_below: int,
    max_interruptions: int,
    previous_owner: PreviousOwner = "alive",
) -> list[Claim | None]:
    """Claim pending predictions in one statement; None for one that is missing, claimed or finished.

    ``attempts_below``: only claim predictions with fewer attempts, and at most ``max_interruptions``.
    ``previous_owner``: who holds predictions that are processing. An owner that may be ``alive`` keeps them; those of a
    ``dead`` one are claimed; with ``ours``, this process claimed them but did not learn of it: no attempt is counted.
    """
    rows = await execute(_CLAIM, [prediction_ids, lease, attempts_below, previous_owner, max_interruptions])
    claims = {
        row["id"]: Claim(
            prediction_id=row["id"],
            attempt=row["attempts"],
            started_at=row["started_at"],
            image_path=row["image_path"],
            model=row["model"],
            waited=row["waited"],
        )
        for row in rows
    }
    return [claims.get(prediction_id) for prediction_id in prediction_ids]


@dataclass(frozen=True, slots=True)
class ClassificationResult:
    """A model's result for a claimed image: at least one label, highest confidence first."""

    claim: Claim
    scores: list[LabelScore]
    model: str
    model_version: str
    embedding: ImageEmbedding | None = None
    categories: Sequence[CategoryScore] = ()
    decision: Decision | None = None


# A person's label stays whatever the model says. The verdict is on the model that has answered last.
_RESULTS: Final = """
WITH results AS (
    SELECT * FROM unnest($1::bigint[], $2::int[], $3::timestamptz[], $4::text[], $5::text[], $6::float8[], $7::text[],
                         $8::text[], $9::text[], $10::text[])
        AS result (id, attempt, started, scores, label, confidence, model, model_version, categories, decision)
), claimed AS (
    SELECT id, corrected_at IS NOT NULL OR reviewed_at IS NOT NULL AS is_labelled,
           top_prediction IS NOT DISTINCT FROM results.label AS agrees
    FROM predictions JOIN results USING (id)
    WHERE status = 'processing' AND attempts = attempt AND started_at = started ORDER BY id FOR UPDATE OF predictions
)
"""
_KEEP_EMBEDDINGS: Final = """
, kept AS (
    INSERT INTO embeddings (prediction_id, model, model_version, vector, code)
    SELECT embedding.id, embedding.model, embedding.version, vector, code
    FROM unnest($11::bigint[], $12::text[], $13::text[], $14::bytea[], $15::varbit[])
        AS embedding (id, model, version, vector, code)
    JOIN claimed USING (id) ORDER BY id
    ON CONFLICT (prediction_id, model) DO UPDATE
    SET model_version = excluded.model_version, vector = excluded.vector, code = excluded.code
)
"""
_SUCCEED: Final = """
UPDATE predictions
SET status = 'succeeded', completed_at = now(), lease_expires_at = NULL, all_predictions = results.scores::jsonb,
    categories = results.categories::jsonb, decision = results.decision, model = results.model,
    model_version = results.model_version, error_code = NULL, error_message = NULL,
    top_prediction = CASE WHEN is_labelled THEN top_prediction ELSE results.label END,
    confidence = CASE WHEN corrected_at IS NOT NULL THEN predictions.confidence
                      WHEN is_labelled AND NOT agrees THEN 1 ELSE results.confidence END,
    corrected_at = CASE WHEN is_labelled AND NOT agrees THEN coalesce(corrected_at, reviewed_at) ELSE corrected_at END,
    verdict = CASE WHEN reviewed_at IS NULL THEN NULL WHEN agrees THEN 'confirmed' ELSE 'corrected' END
FROM results JOIN claimed USING (id)
WHERE predictions.id = results.id
RETURNING predictions.*
"""


@translate_connection_errors()
async def succeed_all(results: list[ClassificationResult]) -> list[Prediction | None]:
    """Write results in one statement; None for one whose claim is no longer valid."""
    rows = [
        (
            *(result.claim.prediction_id, result.claim.attempt, result.claim.started_at, scores_json(result.scores)),
            *(result.scores[0].label, result.scores[0].confidence, result.model, result.model_version),
            *(categories_json(result.categories), result.decision),
        )
        for result in results
    ]
    embeddings = [
        (result.claim.prediction_id, one.model, one.version, one.vector, bits(one))
        for result in results
        if (one := result.embedding)
    ]
    statement = _RESULTS + (_KEEP_EMBEDDINGS if embeddings else "") + _SUCCEED
    values = [*columns(rows), *(columns(embeddings) if embeddings else [])]
    written = {row["id"]: from_row(Prediction, row) for row in await execute(statement, values)}
    return [written.get(result.claim.prediction_id) for result in results]


_FAIL: Final = """
UPDATE predictions
SET status = 'failed', completed_at = now(), lease_expires_at = NULL, error_code = $4, error_message = $5
WHERE id = $1 AND status = 'processing' AND attempts = $2 AND started_at = $3
RETURNING *
"""


@translate_connection_errors()
async def fail(claim: Claim, error: ServiceError) -> Prediction | None:
    """Fail a prediction permanently; None if the claim is no longer valid."""
    rows = await execute(_FAIL, [claim.prediction_id, claim.attempt, claim.started_at, error.code, error.message])
    return from_row(Prediction, rows[0]) if rows else None


_RELEASE: Final = """
UPDATE predictions
SET status = 'pending', lease_expires_at = NULL, started_at = NULL, attempts = attempts - $4
WHERE id = $1 AND status = 'processing' AND attempts = $2 AND started_at = $3
RETURNING id
"""


@translate_connection_errors()
async def release(claim: Claim, *, count_attempt: bool) -> bool:
    """Return a prediction to pending; False if the claim is no longer valid."""
    return bool(
        await execute(_RELEASE, [claim.prediction_id, claim.attempt, claim.started_at, 0 if count_attempt else 1])
    )


_EXHAUST: Final = """
UPDATE predictions
SET status = 'failed', completed_at = now(), lease_expires_at = NULL, error_code = $2, error_message = $3
WHERE id IN (
    SELECT id FROM predictions
    WHERE id <> ALL($5::bigint[]) AND (
        (status = 'pending' AND (attempts >= $1 OR interruptions > $6))
        OR (status = 'processing' AND interruptions >= $6 AND ($4 OR lease_expires_at < now()))
    )
    ORDER BY id FOR UPDATE SKIP LOCKED
)
RETURNING *
"""
_ORPHANS: Final = """
UPDATE predictions SET status = 'pending', lease_expires_at = NULL, started_at = NULL, attempts = attempts - 1,
    interruptions = interruptions + 1
WHERE id IN (
    SELECT id FROM predictions
    WHERE status = 'processing' AND id <> ALL($2::bigint[]) AND ($1 OR lease_expires_at < now())
    ORDER BY id FOR UPDATE SKIP LOCKED
)
RETURNING id
"""
_EXHAUST_ONE: Final = """
UPDATE predictions
SET status = 'failed', completed_at = now(), lease_expires_at = NULL, error_code = $3, error_message = $4
WHERE id = $1 AND (
    (status = 'pending' AND (attempts >= $2 OR interruptions > $5))
    OR (status = 'processing' AND interruptions >= $5)
)
RETURNING *
"""
_PENDING: Final = """
SELECT id, attempts + interruptions AS tried FROM predictions
WHERE status = 'pending' AND id <> ALL($1::bigint[]) ORDER BY id LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Predictions that recovery failed, and the number that it returned to pending."""

    failed: list[Prediction]
    orphaned: int


@translate_connection_errors()
async def recover(policy: RetryPolicy, active: list[int], *, all_processing: bool) -> Recovered:
    """Find predictions whose process died: return them to pending, or fail those without attempts left.

    ``active``: IDs that this process is working on, however long that takes. ``all_processing``: no other process uses
    this database, so every other lease belongs to a dead process.
    """
    spent = _spent(policy)
    failed = await execute(
        _EXHAUST,
        [policy.max_attempts, spent.code, spent.message, all_processing, active, policy.max_interruptions],
    )
    orphaned = await execute(_ORPHANS, [all_processing, active])
    return Recovered([from_row(Prediction, row) for row in failed], len(orphaned))


@translate_connection_errors()
async def exhaust(prediction_id: int, policy: RetryPolicy) -> Prediction | None:
    """Fail a prediction that has no attempts left, claimed or not; None if it has attempts left or is finished."""
    spent = _spent(policy)
    values = [prediction_id, policy.max_attempts, spent.code, spent.message, policy.max_interruptions]
    rows = await execute(_EXHAUST_ONE, values)
    return from_row(Prediction, rows[0]) if rows else None


def _spent(policy: RetryPolicy) -> AttemptsExhausted:
    return AttemptsExhausted(
        f"The prediction failed after {policy.max_attempts} attempts, or {policy.max_interruptions} interruptions."
    )


@translate_connection_errors()
async def is_pending(prediction_id: int) -> bool:
    """Whether a prediction is waiting for a worker."""
    rows = await execute("SELECT 1 FROM predictions WHERE id = $1 AND status = 'pending'", [prediction_id])
    return bool(rows)


@translate_connection_errors()
async def pending(active: list[int], limit: int) -> list[tuple[int, int]]:
    """IDs of at most ``limit`` pending predictions that are not in ``active``, oldest first; with their attempts.

    Interruptions are among these attempts.
    """
    return [(row["id"], row["tried"]) for row in await execute(_PENDING, [active, limit])]
