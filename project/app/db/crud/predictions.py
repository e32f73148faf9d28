"""Reads and deletes predictions. Each state change is one guarded statement.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from app.db.connection import execute
from app.db.driver_internals import from_row
from app.db.errors import translate_connection_errors
from app.domain import MAX_ID, Caller, PredictionNotFound
from app.models.tortoise import Prediction


@translate_connection_errors()
async def get_all(prediction_ids: list[int]) -> list[Prediction | PredictionNotFound]:
    """Predictions by ID, in one statement, with PredictionNotFound in place of missing ones."""
    valid_ids = [prediction_id for prediction_id in prediction_ids if prediction_id <= MAX_ID]
    rows = await execute("SELECT * FROM predictions WHERE id = ANY($1)", [valid_ids])
    by_id = {row["id"]: from_row(Prediction, row) for row in rows}
    return [by_id.get(prediction_id) or PredictionNotFound() for prediction_id in prediction_ids]


async def get(prediction_id: int) -> Prediction:
    """One prediction. Raises PredictionNotFound."""
    (prediction,) = await get_all([prediction_id])
    if isinstance(prediction, PredictionNotFound):
        raise prediction
    return prediction


@translate_connection_errors()
async def recent_image_paths(limit: int) -> list[str]:
    """Storage keys of the newest ``limit`` images."""
    rows = await execute("SELECT image_path FROM predictions ORDER BY id DESC LIMIT $1", [limit])
    return [row["image_path"] for row in rows]


@translate_connection_errors()
async def id_of_image(image_path: str) -> int:
    """The ID of the prediction of an image. Raises PredictionNotFound."""
    rows = await execute("SELECT id FROM predictions WHERE image_path = $1", [image_path])
    if not rows:
        raise PredictionNotFound
    return int(rows[0]["id"])


@translate_connection_errors()
async def unreferenced_images(image_paths: list[str]) -> list[str]:
    """The given storage keys that no prediction refers to."""
    rows = await execute("SELECT image_path FROM predictions WHERE image_path = ANY($1)", [image_paths])
    return sorted(set(image_paths) - {row["image_path"] for row in rows})


@translate_connection_errors()
async def stored_bytes() -> int:
    """Total size of all images."""
    (row,) = await execute("SELECT coalesce(sum(size_bytes), 0)::bigint AS bytes FROM predictions")
    return int(row["bytes"])


@translate_connection_errors()
async def stored_bytes_of_key(key_id: int | None) -> int:
    """Total size of the images of an API key; with None, of all anonymous uploads."""
    (row,) = await execute(
        "SELECT coalesce(sum(size_bytes), 0)::bigint AS bytes FROM predictions WHERE key_id IS NOT DISTINCT FROM $1",
        [key_id],
    )
    return int(row["bytes"])


# In ID order, which is nearly creation order. Unfinished predictions are kept, and examples of custom models.
_OLDEST: Final = """
SELECT id, size_bytes, created_at < now() - $3::interval AS expired,
       status IN ('succeeded', 'failed')
       AND NOT EXISTS (SELECT FROM examples WHERE prediction_id = predictions.id) AS may_go
FROM predictions WHERE id > $1 ORDER BY id LIMIT $2
"""


@translate_connection_errors()
async def oldest(after_id: int, limit: int, age: timedelta) -> list[dict[str, Any]]:
    """``id``, ``size_bytes``, ``expired`` (older than ``age``) and ``may_go`` of the predictions after an ID."""
    return await execute(_OLDEST, [after_id, limit, age])


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
    INSERT INTO changes (changed_at, key_id, who, address, action, subject_id, before)
    SELECT now(), $2, $3, $4, 'prediction.deleted', id,
           jsonb_build_object('filename', filename, 'sha256', sha256, 'status', status, 'model', model,
                              'model_version', model_version, 'top_prediction', top_prediction,
                              'confidence', confidence, 'created_at', created_at, 'corrected_at', corrected_at)
    FROM gone
)
SELECT id, filename, image_path FROM gone
"""


@translate_connection_errors()
async def delete_all(prediction_ids: list[int], actor: Caller) -> list[DeletedPrediction]:
    """Delete the rows of predictions; missing ones are ignored. Their images are left to ``storage.deletion``."""
    valid_ids = [prediction_id for prediction_id in prediction_ids if prediction_id <= MAX_ID]
    rows = await execute(_DELETE, [valid_ids, actor.key_id, actor.name, actor.address or None])
    return [DeletedPrediction(**row) for row in rows]


@translate_connection_errors()
async def missing(ids: Sequence[int]) -> set[int]:
    """The IDs without a prediction."""
    rows = await execute("SELECT id FROM predictions WHERE id = ANY($1)", [list(ids)])
    return set(ids) - {row["id"] for row in rows}
