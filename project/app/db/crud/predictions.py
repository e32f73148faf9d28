"""Queries on predictions. Every change of state is one guarded statement; nothing here knows HTTP.

Every function raises DatabaseUnavailable while the database is away.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from app import metrics
from app.db import columns, execute, translate_connection_errors
from app.domain import (
    MAX_ID,
    Caller,
    IdempotencyClaim,
    IdempotencyKeyInFlight,
    ImageInfo,
    LabelScore,
    PredictionNotFound,
    ServiceError,
    Status,
)
from app.models.tortoise import Prediction


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt ended that was made before there was a row: with scores, an error, or neither.

    ``began``: by ``time.monotonic``. ``version``: of the model that gave the scores. Where there are neither scores nor
    error the attempt counts, and the image is to be tried again. ``cached``: the scores are an earlier prediction's.
    ``seconds``: of decoding, and of the model.
    """

    began: float
    scores: Sequence[LabelScore] = ()
    version: str = ""
    error: ServiceError | None = None
    cached: bool = False
    seconds: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class NewPrediction:
    """What is known of a prediction when its row is made. ``sha256`` is of the uploaded bytes, in hexadecimal.

    ``came``: when the upload did, by ``time.monotonic``. ``idempotency_key``: that the client may send again.
    ``webhook_url``: where the prediction's end is told. ``key_id``: of the API key that was used. ``carried``: what
    its job takes along.
    """

    filename: str
    image_path: str
    image: ImageInfo
    size_bytes: int
    sha256: str
    model: str
    model_version: str
    came: float
    attempt: Attempt | None = None
    idempotency_key: IdempotencyClaim | None = None
    webhook_url: str | None = None
    key_id: int | None = None
    carried: Mapping[str, str] = field(default_factory=dict)


# Times are the database's, as everywhere, less what has passed by a clock that nobody sets.
_NEW: Final = """
WITH new AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::int[], $6::bigint[], $7::text[],
                         $8::text[], $9::text[], $10::interval[], $11::text[], $12::text[], $13::text[], $14::int[],
                         $15::text[], $16::float8[], $17::text[], $18::text[], $19::text[], $20::interval[],
                         $21::bool[], $22::timestamptz[], $23::bigint[])
    AS new (filename, image_path, content_type, width, height, size_bytes, sha256,
            model, model_version, age, idempotency_key, webhook_url, status, attempts,
            top_prediction, confidence, all_predictions, error_code, error_message, attempt_age,
            cached, key_claimed_at, key_id)
)
"""
# Whoever stood still until its key was another's makes no second row.
_HELD: Final = """
, held AS (
    SELECT key FROM idempotency_keys JOIN new ON key = new.idempotency_key AND claimed_at = new.key_claimed_at
    FOR UPDATE OF idempotency_keys
)
"""
_INSERT: Final = """
, created AS (
    INSERT INTO predictions (filename, image_path, content_type, width, height, size_bytes, sha256, model,
                             model_version, status, attempts, top_prediction, confidence, all_predictions, error_code,
                             error_message, created_at, started_at, completed_at, cached, key_id)
    SELECT filename, image_path, content_type, width, height, size_bytes, sha256, model,
           model_version, status, attempts, top_prediction, confidence, all_predictions::jsonb, error_code,
           error_message, now() - age, now() - attempt_age, CASE WHEN status <> 'pending' THEN now() END, cached,
           key_id
    FROM new {where}
    RETURNING *
)
"""
_STILL_HELD: Final = "WHERE idempotency_key IS NULL OR idempotency_key IN (SELECT key FROM held)"
# A key is noted together with the row, so that there is never one without the other.
_NOTE_KEYS: Final = """
, noted AS (
    UPDATE idempotency_keys SET prediction_id = created.id
    FROM created JOIN new USING (image_path) WHERE key = new.idempotency_key
)
"""
# A webhook likewise; of a prediction that is finished already it is due at once.
_ADD_WEBHOOKS: Final = """
, hooked AS (
    INSERT INTO deliveries (prediction_id, url, status, attempts, next_attempt_at, created_at)
    SELECT created.id, webhook_url, CASE WHEN created.status = 'pending' THEN 'waiting' ELSE 'pending' END, 0,
           CASE WHEN created.status <> 'pending' THEN now() END, now()
    FROM created JOIN new USING (image_path) WHERE webhook_url IS NOT NULL
)
"""
_CREATED: Final = "SELECT * FROM created"


@translate_connection_errors()
async def create_all(new: list[NewPrediction]) -> list[Prediction | IdempotencyKeyInFlight]:
    """Add predictions, pending or finished by their attempt, in one statement; on return they are committed.

    IdempotencyKeyInFlight in the place of one whose key is another upload's by now.
    """
    now = time.monotonic()
    rows = [
        (
            *(one.filename, one.image_path, one.image.content_type, one.image.width, one.image.height),
            *(one.size_bytes, one.sha256, one.model, one.model_version, timedelta(seconds=now - one.came)),
            *(one.idempotency_key.key if one.idempotency_key else None, one.webhook_url),
            *_attempt_columns(one.attempt, now),
            one.idempotency_key.claimed_at if one.idempotency_key else None,
            one.key_id,
        )
        for one in new
    ]
    with_keys = any(one.idempotency_key for one in new)
    insert = _HELD + _INSERT.format(where=_STILL_HELD) + _NOTE_KEYS if with_keys else _INSERT.format(where="")
    add_webhooks = _ADD_WEBHOOKS if any(one.webhook_url for one in new) else ""
    created = await execute(_NEW + insert + add_webhooks + _CREATED, columns(rows))
    made = {row["image_path"]: Prediction.of(row) for row in created}
    return [made.get(one.image_path) or IdempotencyKeyInFlight() for one in new]


def _attempt_columns(attempt: Attempt | None, now: float) -> tuple[Any, ...]:
    """The columns from status on. ``started_at`` is none where nothing was started."""
    if attempt is None or not (attempt.scores or attempt.error):
        return Status.PENDING, 0 if attempt is None else 1, None, None, None, None, None, None, False
    age = timedelta(seconds=now - attempt.began)
    if attempt.error:
        return Status.FAILED, 1, None, None, None, attempt.error.code, attempt.error.message, age, False
    best, tried = attempt.scores[0], 0 if attempt.cached else 1
    scores = scores_json(attempt.scores)
    answer = (Status.SUCCEEDED, tried, best.label, best.confidence, scores, None, None)
    return *answer, None if attempt.cached else age, attempt.cached


def scores_json(scores: Sequence[LabelScore]) -> str:
    """Scores as ``all_predictions`` keeps them."""
    return json.dumps([{"label": score.label, "confidence": score.confidence} for score in scores])


async def create(new: NewPrediction) -> Prediction:
    """Add one prediction; when this returns, it is committed."""
    (prediction,) = await create_all([new])
    if isinstance(prediction, IdempotencyKeyInFlight):
        raise prediction
    return prediction


_KNOWN: Final = """
SELECT n, all_predictions::text AS scores
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS asked (sha256, model, model_version, n)
CROSS JOIN LATERAL (
    SELECT all_predictions FROM predictions
    WHERE sha256 = asked.sha256 AND model = asked.model AND model_version = asked.model_version
        AND status = 'succeeded'
    LIMIT 1
) AS known
"""


@translate_connection_errors()
async def cached_results(asked: list[tuple[str, str, str]]) -> list[Attempt | None]:
    """Cached results: what a model said about the same bytes earlier, in one statement; None for unknown bytes.

    ``requests``: SHA-256 of the bytes, name and version of the model.
    """
    began = time.monotonic()
    known: list[Attempt | None] = [None] * len(asked)
    for row in await execute(_KNOWN, columns(asked)):
        scores = [LabelScore(**score) for score in json.loads(row["scores"])]
        known[row["n"] - 1] = Attempt(began, scores, version=asked[row["n"] - 1][2], cached=True)
    return known


@translate_connection_errors()
async def get_all(prediction_ids: list[int]) -> list[Prediction | PredictionNotFound]:
    """Predictions by ID, in one statement, with PredictionNotFound in place of missing ones."""
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


@translate_connection_errors()
async def recent_image_paths(limit: int) -> list[str]:
    """Storage keys of the newest ``limit`` images."""
    rows = await execute("SELECT image_path FROM predictions ORDER BY id DESC LIMIT $1", [limit])
    return [row["image_path"] for row in rows]


@translate_connection_errors()
async def unnamed_images(image_paths: list[str]) -> list[str]:
    """The given storage keys that no prediction refers to."""
    named = await execute("SELECT image_path FROM predictions WHERE image_path = ANY($1)", [image_paths])
    return sorted(set(image_paths) - {row["image_path"] for row in named})


# The change and its audit entry are one statement, so neither exists without the other.
_CORRECT: Final = """
WITH old AS (
    SELECT * FROM predictions WHERE id = $1 FOR UPDATE
), noted AS (
    INSERT INTO changes (changed_at, key_id, who, action, subject_id, before, after)
    SELECT now(), $4, $5, 'prediction.corrected', id,
           jsonb_build_object('top_prediction', top_prediction, 'confidence', confidence, 'corrected_at', corrected_at),
           jsonb_build_object('top_prediction', $2::text, 'confidence', $3::float8, 'corrected_at', now())
    FROM old
)
UPDATE predictions SET top_prediction = $2, confidence = $3, corrected_at = now()
FROM old WHERE predictions.id = old.id
RETURNING predictions.*
"""


@translate_connection_errors()
async def correct(prediction_id: int, label: str, confidence: float, by: Caller) -> Prediction:
    """Set a person's label; the model's result stays in ``all_predictions``. Raises PredictionNotFound."""
    rows = prediction_id <= MAX_ID and await execute(_CORRECT, [prediction_id, label, confidence, by.key_id, by.name])
    if not rows:
        raise PredictionNotFound
    prediction = Prediction.of(rows[0])
    metrics.CORRECTIONS.labels(prediction.model).inc()
    return prediction


@dataclass(frozen=True, slots=True)
class DeletedPrediction:
    """Names of a deleted prediction and its image."""

    id: int
    filename: str
    image_path: str


_DELETE: Final = """
WITH gone AS (
    DELETE FROM predictions WHERE id = ANY($1) RETURNING *
), noted AS (
    INSERT INTO changes (changed_at, key_id, who, action, subject_id, before)
    SELECT now(), $2, $3, 'prediction.deleted', id,
           jsonb_build_object('filename', filename, 'sha256', sha256, 'status', status, 'model', model,
                              'model_version', model_version, 'top_prediction', top_prediction,
                              'confidence', confidence, 'created_at', created_at, 'corrected_at', corrected_at)
    FROM gone
)
SELECT id, filename, image_path FROM gone
"""


@translate_connection_errors()
async def delete_all(prediction_ids: list[int], by: Caller) -> list[DeletedPrediction]:
    """Delete the rows of predictions; missing ones are ignored."""
    return [DeletedPrediction(**row) for row in await execute(_DELETE, [prediction_ids, by.key_id, by.name])]


async def delete(prediction_id: int, by: Caller) -> DeletedPrediction:
    """Delete a prediction's row. Raises PredictionNotFound."""
    deleted = await delete_all([prediction_id], by) if prediction_id <= MAX_ID else []
    if not deleted:
        raise PredictionNotFound
    return deleted[0]
