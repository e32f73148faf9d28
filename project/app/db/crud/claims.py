"""State changes made by workers: claim, succeed, fail, release, recover.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from app.backlog import ASKED_AT
from app.crud import scores_json
from app.db import columns, execute, translate_connection_errors
from app.domain import AttemptsExhausted, Claim, LabelScore, RetryPolicy, ServiceError
from app.models.tortoise import Prediction

Claimant = Literal["alive", "dead", "ours"]

# Attempts are counted at claim, so an image that kills the process still runs out of attempts. Rows are locked in ID
# order, here and below: otherwise statements on many rows would deadlock.
_CLAIM: Final = f"""
UPDATE predictions
SET status = 'processing', attempts = attempts + CASE WHEN status = 'pending' OR $4 <> 'ours' THEN 1 ELSE 0 END,
    started_at = now(), lease_expires_at = now() + $2::interval
WHERE id IN (
    SELECT id FROM predictions
    WHERE id = ANY($1) AND (
        (attempts < $3 AND (status = 'pending' OR ($4 = 'dead' AND status = 'processing')))
        OR ($4 = 'ours' AND status = 'processing')
    )
    ORDER BY id FOR UPDATE SKIP LOCKED
)
RETURNING id, attempts, started_at, image_path, model, extract(epoch from now() - {ASKED_AT})::float8 AS waited
"""  # noqa: S608 - a part of ours # nosec B608


@translate_connection_errors()
async def claim_all(
    prediction_ids: list[int], lease: timedelta, *, attempts_below: int, claimed_by: Claimant = "alive"
) -> list[Claim | None]:
    """Claim pending predictions in one statement; None for one that is missing, claimed or finished.

    ``attempts_below``: only claim predictions with fewer attempts. ``previous_owner``: who holds predictions that are
    processing: an owner that may be ``alive`` keeps them; those of a ``dead`` one are claimed; with ``ours``, this
    process claimed them but did not learn of it, so no attempt is counted.
    """
    rows = await execute(_CLAIM, [prediction_ids, lease, attempts_below, claimed_by])
    held = {
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
    return [held.get(prediction_id) for prediction_id in prediction_ids]


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's result for a claimed image: at least one label, highest confidence first."""

    held: Claim
    scores: list[LabelScore]
    model: str
    model_version: str


# If a person corrected the row in the meantime, the correction stays and only ``all_predictions`` is the model's.
_SUCCEED: Final = """
WITH answers AS (
    SELECT * FROM unnest($1::bigint[], $2::int[], $3::timestamptz[], $4::text[], $5::text[], $6::float8[], $7::text[],
                         $8::text[])
        AS answer (id, attempt, started, scores, label, confidence, model, model_version)
), held AS (
    SELECT id FROM predictions JOIN answers USING (id)
    WHERE status = 'processing' AND attempts = attempt AND started_at = started ORDER BY id FOR UPDATE OF predictions
)
UPDATE predictions
SET status = 'succeeded', completed_at = now(), lease_expires_at = NULL, all_predictions = answers.scores::jsonb,
    model = answers.model, model_version = answers.model_version, error_code = NULL, error_message = NULL,
    top_prediction = CASE WHEN corrected_at IS NULL THEN answers.label ELSE top_prediction END,
    confidence = CASE WHEN corrected_at IS NULL THEN answers.confidence ELSE predictions.confidence END
FROM answers JOIN held USING (id)
WHERE predictions.id = answers.id
RETURNING predictions.*
"""


@translate_connection_errors()
async def succeed_all(answers: list[Answer]) -> list[Prediction | None]:
    """Write results in one statement; None for one whose claim is no longer valid."""
    rows = [
        (
            *(one.held.prediction_id, one.held.attempt, one.held.started_at, scores_json(one.scores)),
            *(one.scores[0].label, one.scores[0].confidence, one.model, one.model_version),
        )
        for one in answers
    ]
    written = {row["id"]: Prediction.of(row) for row in await execute(_SUCCEED, columns(rows))}
    return [written.get(one.held.prediction_id) for one in answers]


_FAIL: Final = """
UPDATE predictions
SET status = 'failed', completed_at = now(), lease_expires_at = NULL, error_code = $4, error_message = $5
WHERE id = $1 AND status = 'processing' AND attempts = $2 AND started_at = $3
RETURNING *
"""


@translate_connection_errors()
async def fail(held: Claim, error: ServiceError) -> Prediction | None:
    """Fail a prediction permanently; None if the claim is no longer valid."""
    rows = await execute(_FAIL, [held.prediction_id, held.attempt, held.started_at, error.code, error.message])
    return Prediction.of(rows[0]) if rows else None


_RELEASE: Final = """
UPDATE predictions
SET status = 'pending', lease_expires_at = NULL, started_at = NULL, attempts = attempts - $4
WHERE id = $1 AND status = 'processing' AND attempts = $2 AND started_at = $3
RETURNING id
"""


@translate_connection_errors()
async def release(held: Claim, *, count_attempt: bool) -> bool:
    """Return a prediction to pending; False if the claim is no longer valid."""
    return bool(await execute(_RELEASE, [held.prediction_id, held.attempt, held.started_at, 0 if count_attempt else 1]))


_EXHAUST: Final = """
UPDATE predictions
SET status = 'failed', completed_at = now(), lease_expires_at = NULL, error_code = $2, error_message = $3
WHERE id IN (
    SELECT id FROM predictions
    WHERE attempts >= $1 AND id <> ALL($5::bigint[])
        AND (status = 'pending' OR (status = 'processing' AND ($4 OR lease_expires_at < now())))
    ORDER BY id FOR UPDATE SKIP LOCKED
)
RETURNING *
"""
_ORPHANS: Final = """
UPDATE predictions SET status = 'pending', lease_expires_at = NULL, started_at = NULL
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
WHERE id = $1 AND attempts >= $2 AND status IN ('pending', 'processing')
RETURNING *
"""
_PENDING: Final = """
SELECT id, attempts FROM predictions WHERE status = 'pending' AND id <> ALL($1::bigint[]) ORDER BY id LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Predictions that recovery failed, and the number that it returned to pending."""

    failed: list[Prediction]
    orphaned: int


@translate_connection_errors()
async def recover(policy: RetryPolicy, in_hand: list[int], *, all_processing: bool) -> Recovered:
    """Find predictions whose process died: return them to pending, or fail those without attempts left.

    ``active``: IDs that this process is working on, however long that takes. ``all_processing``: no other process uses
    this database, so every other lease belongs to a dead process.
    """
    spent = _spent(policy)
    failed = await execute(_EXHAUST, [policy.max_attempts, spent.code, spent.message, all_processing, in_hand])
    orphaned = await execute(_ORPHANS, [all_processing, in_hand])
    return Recovered([Prediction.of(row) for row in failed], len(orphaned))


@translate_connection_errors()
async def exhaust(prediction_id: int, policy: RetryPolicy) -> Prediction | None:
    """Fail a prediction without attempts left, whoever holds it; None if it has attempts left or is finished."""
    spent = _spent(policy)
    rows = await execute(_EXHAUST_ONE, [prediction_id, policy.max_attempts, spent.code, spent.message])
    return Prediction.of(rows[0]) if rows else None


def _spent(policy: RetryPolicy) -> AttemptsExhausted:
    return AttemptsExhausted(f"The prediction failed after {policy.max_attempts} attempts.")


@translate_connection_errors()
async def is_pending(prediction_id: int) -> bool:
    """Whether a prediction is waiting for a worker."""
    rows = await execute("SELECT 1 FROM predictions WHERE id = $1 AND status = 'pending'", [prediction_id])
    return bool(rows)


@translate_connection_errors()
async def pending(in_hand: list[int], limit: int) -> list[tuple[int, int]]:
    """IDs and attempts of at most ``limit`` pending predictions that are not in ``active``, oldest first."""
    return [(row["id"], row["attempts"]) for row in await execute(_PENDING, [in_hand, limit])]
