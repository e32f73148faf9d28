"""Queries on predictions. Every change of state is one guarded statement; nothing here knows HTTP.

Every function raises DatabaseUnavailable while the database is away.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from app.db import execute, unavailable_when_away
from app.domain import (
    MAX_ID,
    AttemptsExhausted,
    Claim,
    ImageInfo,
    LabelScore,
    PredictionNotFound,
    PredictionUnfinished,
    RetryPolicy,
    ServiceError,
    Status,
)
from app.models.tortoise import PastAnswer, Prediction


@dataclass(frozen=True, slots=True)
class NewPrediction:
    """What is known of a prediction at its upload. ``sha256`` is of the uploaded bytes, in hexadecimal."""

    filename: str
    image_path: str
    image: ImageInfo
    size_bytes: int
    sha256: str
    model: str
    model_version: str


_CREATE: Final = """
INSERT INTO predictions (filename, image_path, content_type, width, height, size_bytes, sha256, model, model_version,
                         status, attempts, created_at)
SELECT new.*, 'pending', 0, now()
FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::int[], $6::bigint[], $7::text[], $8::text[], $9::text[])
    AS new
RETURNING *
"""


@unavailable_when_away()
async def create_all(new: list[NewPrediction]) -> list[Prediction]:
    """Add pending predictions, in one statement; when this returns, they are committed."""
    rows = [
        (
            *(one.filename, one.image_path, one.image.content_type, one.image.width, one.image.height),
            *(one.size_bytes, one.sha256, one.model, one.model_version),
        )
        for one in new
    ]
    made = {row["image_path"]: Prediction.of(row) for row in await execute(_CREATE, _columns(rows))}
    return [made[one.image_path] for one in new]


def _columns(rows: list[tuple[Any, ...]]) -> list[Any]:
    """Rows as the arrays that ``unnest`` makes rows of again."""
    return [list(column) for column in zip(*rows, strict=True)]


async def create(new: NewPrediction) -> Prediction:
    """Add a pending prediction; when this returns, it is committed."""
    (prediction,) = await create_all([new])
    return prediction


@unavailable_when_away()
async def get_all(prediction_ids: list[int]) -> list[Prediction | PredictionNotFound]:
    """Predictions by their ids, in one statement; PredictionNotFound in the place of one that is not there."""
    known = [prediction_id for prediction_id in prediction_ids if prediction_id <= MAX_ID]
    rows = await execute("SELECT * FROM predictions WHERE id = ANY($1)", [known])
    found = {row["id"]: Prediction.of(row) for row in rows}
    return [found.get(prediction_id) or PredictionNotFound() for prediction_id in prediction_ids]


async def get(prediction_id: int) -> Prediction:
    """One prediction. Raises PredictionNotFound."""
    (found,) = await get_all([prediction_id])
    if isinstance(found, PredictionNotFound):
        raise found
    return found


@unavailable_when_away()
async def page(limit: int, before: int | None = None, status: Status | None = None) -> list[Prediction]:
    """At most ``limit`` predictions, newest first; with ``before``, those older than that id."""
    query = Prediction.all()
    if status is not None:
        query = query.filter(status=status)
    if before is not None:
        query = query.filter(id__lt=before)
    return await query.order_by("-id").limit(limit)


@unavailable_when_away()
async def recent_image_paths(limit: int) -> list[str]:
    """Storage keys of the newest ``limit`` images."""
    rows = await execute("SELECT image_path FROM predictions ORDER BY id DESC LIMIT $1", [limit])
    return [row["image_path"] for row in rows]


@unavailable_when_away()
async def correct(prediction_id: int, label: str, confidence: float) -> Prediction:
    """Set a person's answer; the model's own stays in ``all_predictions``. Raises PredictionNotFound."""
    found = prediction_id <= MAX_ID and await execute(
        "UPDATE predictions SET top_prediction = $2, confidence = $3, corrected_at = now() WHERE id = $1 RETURNING id",
        [prediction_id, label, confidence],
    )
    if not found:
        raise PredictionNotFound
    return await get(prediction_id)


@dataclass(frozen=True, slots=True)
class DeletedPrediction:
    """What is left of a deleted prediction: the names by which it and its image were known."""

    id: int
    filename: str
    image_path: str


@unavailable_when_away()
async def delete(prediction_id: int) -> DeletedPrediction:
    """Remove a prediction's row. Raises PredictionNotFound."""
    rows = prediction_id <= MAX_ID and await execute(
        "DELETE FROM predictions WHERE id = $1 RETURNING id, filename, image_path", [prediction_id]
    )
    if not rows:
        raise PredictionNotFound
    return DeletedPrediction(**rows[0])


# The old answer goes into the history and the row becomes pending, or neither does.
_RECLASSIFY: Final = """
WITH old AS (
    SELECT * FROM predictions WHERE id = $1 AND status IN ('succeeded', 'failed') FOR UPDATE
), past AS (
    INSERT INTO past_answers (prediction_id, status, top_prediction, confidence, all_predictions, model, model_version,
                              error_code, error_message, attempts, started_at, completed_at, corrected_at, replaced_at)
    SELECT id, status, top_prediction, confidence, all_predictions, model, model_version,
           error_code, error_message, attempts, started_at, completed_at, corrected_at, now() FROM old
)
UPDATE predictions
SET status = 'pending', model = $2, model_version = $3, attempts = 0, lease_expires_at = NULL,
    top_prediction = NULL, confidence = NULL, all_predictions = NULL, error_code = NULL, error_message = NULL,
    started_at = NULL, completed_at = NULL, corrected_at = NULL
FROM old WHERE predictions.id = old.id
RETURNING predictions.*
"""


@unavailable_when_away()
async def reclassify(prediction_id: int, model: str, model_version: str) -> Prediction:
    """Put a finished prediction's answer into its history and make it pending again, for another model.

    Raises PredictionNotFound, or PredictionUnfinished where there is no answer yet.
    """
    rows = prediction_id <= MAX_ID and await execute(_RECLASSIFY, [prediction_id, model, model_version])
    if not rows:
        await get(prediction_id)
        raise PredictionUnfinished
    return Prediction.of(rows[0])


@unavailable_when_away()
async def history(prediction_id: int) -> list[PastAnswer]:
    """Answers that a prediction had before, newest first. Raises PredictionNotFound."""
    await get(prediction_id)
    rows = await execute("SELECT * FROM past_answers WHERE prediction_id = $1 ORDER BY id DESC", [prediction_id])
    return [PastAnswer.of(row) for row in rows]


@dataclass(frozen=True, slots=True)
class TabularAnswer:
    """What a tabular model said of one row of features."""

    model: str
    model_version: str
    features: dict[str, float]
    label: str
    probabilities: dict[str, float]
    cached: bool


_LOG_TABULAR: Final = """
INSERT INTO tabular_predictions (model, model_version, features, label, probabilities, cached, created_at)
SELECT new.model, new.model_version, new.features::jsonb, new.label, new.probabilities::jsonb, new.cached, now()
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bool[])
    AS new (model, model_version, features, label, probabilities, cached)
"""


@unavailable_when_away()
async def log_tabular(answers: list[TabularAnswer]) -> None:
    """Keep what tabular models said, in one statement."""
    rows = [
        (
            *(one.model, one.model_version, json.dumps(one.features), one.label),
            *(json.dumps(one.probabilities), one.cached),
        )
        for one in answers
    ]
    await execute(_LOG_TABULAR, _columns(rows))


# Counted at claim, so that an image that kills the process still runs out of attempts. Rows are locked in the order of
# their ids, here and below: statements on many rows at once would wait for each other for ever otherwise.
_CLAIM: Final = """
UPDATE predictions
SET status = 'processing', attempts = attempts + 1, started_at = now(), lease_expires_at = now() + $2::interval
WHERE id IN (
    SELECT id FROM predictions
    WHERE id = ANY($1) AND status = 'pending' AND attempts < $3 ORDER BY id FOR UPDATE SKIP LOCKED
)
RETURNING id, attempts, started_at, image_path, model
"""


@unavailable_when_away()
async def claim_all(prediction_ids: list[int], policy: RetryPolicy) -> list[Claim | None]:
    """Take pending predictions for classifying, in one statement; None for one that is gone, taken or finished."""
    rows = await execute(_CLAIM, [prediction_ids, policy.lease, policy.max_attempts])
    held = {
        row["id"]: Claim(row["id"], row["attempts"], row["started_at"], row["image_path"], row["model"]) for row in rows
    }
    return [held.get(prediction_id) for prediction_id in prediction_ids]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said of an image: at least one label, highest first, and which model it was."""

    held: Claim
    scores: list[LabelScore]
    model: str
    model_version: str


# A person may have corrected the row while it was classified: their answer stands, the model's goes beside it.
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


@unavailable_when_away()
async def succeed_all(answers: list[Answer]) -> list[Prediction | None]:
    """Write what the models said, in one statement; None for one whose claim is no longer held."""
    rows = [
        (
            *(one.held.prediction_id, one.held.attempt, one.held.started_at, _as_json(one.scores)),
            *(one.scores[0].label, one.scores[0].confidence, one.model, one.model_version),
        )
        for one in answers
    ]
    written = {row["id"]: Prediction.of(row) for row in await execute(_SUCCEED, _columns(rows))}
    return [written.get(one.held.prediction_id) for one in answers]


def _as_json(scores: list[LabelScore]) -> str:
    return json.dumps([{"label": score.label, "confidence": score.confidence} for score in scores])


_FAIL: Final = """
UPDATE predictions
SET status = 'failed', completed_at = now(), lease_expires_at = NULL, error_code = $4, error_message = $5
WHERE id = $1 AND status = 'processing' AND attempts = $2 AND started_at = $3
RETURNING *
"""


@unavailable_when_away()
async def fail(held: Claim, error: ServiceError) -> Prediction | None:
    """End a prediction for good; None where the claim is no longer held."""
    rows = await execute(_FAIL, [held.prediction_id, held.attempt, held.started_at, error.code, error.message])
    return Prediction.of(rows[0]) if rows else None


_RELEASE: Final = """
UPDATE predictions
SET status = 'pending', lease_expires_at = NULL, started_at = NULL, attempts = attempts - $4
WHERE id = $1 AND status = 'processing' AND attempts = $2 AND started_at = $3
RETURNING id
"""


@unavailable_when_away()
async def release(held: Claim, *, count_attempt: bool) -> bool:
    """Hand a prediction back, to be classified later; False where the claim is no longer held."""
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
RETURNING id
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
_PENDING: Final = """
SELECT id, attempts FROM predictions WHERE status = 'pending' AND id <> ALL($1::bigint[]) ORDER BY id LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class Recovered:
    """How many predictions a look for lost ones failed, and how many it made pending again."""

    failed: int
    orphaned: int


@unavailable_when_away()
async def recover(policy: RetryPolicy, in_hand: list[int], *, all_processing: bool) -> Recovered:
    """Find predictions whose process died: make them pending again, or failed if they had their attempts.

    ``in_hand``: ids that this process is at, and knows to be alive, however long it takes.
    ``all_processing``: no other process works on this database, so every other lease is a dead one's.
    """
    spent = AttemptsExhausted(f"The prediction was tried {policy.max_attempts} times and never finished.")
    failed = await execute(_EXHAUST, [policy.max_attempts, spent.code, spent.message, all_processing, in_hand])
    orphaned = await execute(_ORPHANS, [all_processing, in_hand])
    return Recovered(len(failed), len(orphaned))


@unavailable_when_away()
async def pending(in_hand: list[int], limit: int) -> list[tuple[int, int]]:
    """Ids and attempts of at most ``limit`` pending predictions other than those ``in_hand``, oldest first."""
    return [(row["id"], row["attempts"]) for row in await execute(_PENDING, [in_hand, limit])]
