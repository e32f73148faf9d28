"""Queries on predictions. Every change of state is one guarded statement; nothing here knows HTTP.

Every function raises DatabaseUnavailable while the database is away.
"""

import json
from dataclasses import dataclass
from typing import Final

from app.db import execute, unavailable_when_away
from app.domain import (
    MAX_ID,
    AttemptsExhausted,
    Claim,
    ImageInfo,
    LabelScore,
    PredictionNotFound,
    RetryPolicy,
    ServiceError,
    Status,
)
from app.models.tortoise import Prediction


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


@unavailable_when_away()
async def create(new: NewPrediction) -> Prediction:
    """Add a pending prediction; when this returns, it is committed."""
    return await Prediction.create(
        filename=new.filename,
        image_path=new.image_path,
        content_type=new.image.content_type,
        width=new.image.width,
        height=new.image.height,
        size_bytes=new.size_bytes,
        sha256=new.sha256,
        model=new.model,
        model_version=new.model_version,
    )


@unavailable_when_away()
async def get(prediction_id: int) -> Prediction:
    """One prediction. Raises PredictionNotFound."""
    prediction = await Prediction.get_or_none(id=prediction_id) if prediction_id <= MAX_ID else None
    if prediction is None:
        raise PredictionNotFound
    return prediction


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


# Counted at claim, so that an image that kills the process still runs out of attempts.
_CLAIM: Final = """
UPDATE predictions
SET status = 'processing', attempts = attempts + 1, started_at = now(), lease_expires_at = now() + $2::interval
WHERE id = $1 AND status = 'pending' AND attempts < $3
RETURNING attempts, image_path
"""


@unavailable_when_away()
async def claim(prediction_id: int, policy: RetryPolicy) -> Claim | None:
    """Take a pending prediction for classifying; None where it is gone, taken or finished."""
    rows = await execute(_CLAIM, [prediction_id, policy.lease, policy.max_attempts])
    return Claim(prediction_id, rows[0]["attempts"], rows[0]["image_path"]) if rows else None


# A person may have corrected the row while it was classified: their answer stands, the model's goes beside it.
_SUCCEED: Final = """
UPDATE predictions
SET status = 'succeeded', completed_at = now(), lease_expires_at = NULL, all_predictions = $3::jsonb,
    model = $6, model_version = $7, error_code = NULL, error_message = NULL,
    top_prediction = CASE WHEN corrected_at IS NULL THEN $4 ELSE top_prediction END,
    confidence = CASE WHEN corrected_at IS NULL THEN $5 ELSE confidence END
WHERE id = $1 AND status = 'processing' AND attempts = $2
RETURNING id
"""


@unavailable_when_away()
async def succeed(held: Claim, scores: list[LabelScore], model: str, model_version: str) -> bool:
    """Write the labels, highest first, and the model they are from; False where the claim is no longer held."""
    answer = json.dumps([{"label": score.label, "confidence": score.confidence} for score in scores])
    top = scores[0]
    values = [held.prediction_id, held.attempt, answer, top.label, top.confidence, model, model_version]
    return bool(await execute(_SUCCEED, values))


_FAIL: Final = """
UPDATE predictions
SET status = 'failed', completed_at = now(), lease_expires_at = NULL, error_code = $3, error_message = $4
WHERE id = $1 AND status = 'processing' AND attempts = $2
RETURNING id
"""


@unavailable_when_away()
async def fail(held: Claim, error: ServiceError) -> bool:
    """End a prediction for good; False where the claim is no longer held."""
    return bool(await execute(_FAIL, [held.prediction_id, held.attempt, error.code, error.message]))


_RELEASE: Final = """
UPDATE predictions
SET status = 'pending', lease_expires_at = NULL, started_at = NULL, attempts = attempts - $3
WHERE id = $1 AND status = 'processing' AND attempts = $2
RETURNING id
"""


@unavailable_when_away()
async def release(held: Claim, *, count_attempt: bool) -> bool:
    """Hand a prediction back, to be classified later; False where the claim is no longer held."""
    return bool(await execute(_RELEASE, [held.prediction_id, held.attempt, 0 if count_attempt else 1]))


_EXHAUST: Final = """
UPDATE predictions
SET status = 'failed', completed_at = now(), lease_expires_at = NULL, error_code = $2, error_message = $3
WHERE attempts >= $1 AND id <> ALL($5::bigint[])
    AND (status = 'pending' OR (status = 'processing' AND ($4 OR lease_expires_at < now())))
RETURNING id
"""
_ORPHANS: Final = """
UPDATE predictions SET status = 'pending', lease_expires_at = NULL, started_at = NULL
WHERE status = 'processing' AND id <> ALL($2::bigint[]) AND ($1 OR lease_expires_at < now())
RETURNING id
"""
_PENDING: Final = "SELECT id FROM predictions WHERE status = 'pending' AND id <> ALL($1::bigint[]) ORDER BY id LIMIT $2"


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
async def pending_ids(in_hand: list[int], limit: int) -> list[int]:
    """Ids of at most ``limit`` pending predictions other than those ``in_hand``, oldest first."""
    return [row["id"] for row in await execute(_PENDING, [in_hand, limit])]
