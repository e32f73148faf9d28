"""Embeddings of images, in half precision.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from collections.abc import Mapping
from typing import Final

from app.db.connection import execute
from app.db.errors import translate_connection_errors
from app.domain import Embedding

# Predictions that were deleted in the meantime are left out.
_SAVE: Final = """
INSERT INTO embeddings (prediction_id, model, model_version, vector)
SELECT id, $1, $2, vector FROM unnest($3::bigint[], $4::bytea[]) AS new (id, vector)
JOIN (SELECT id FROM predictions WHERE id = ANY($3) ORDER BY id FOR KEY SHARE) AS kept USING (id) ORDER BY id
ON CONFLICT (prediction_id, model) DO UPDATE
SET model_version = excluded.model_version, vector = excluded.vector
"""


# Of each prediction the newest, because an image may have been classified by several models.
_OF_PREDICTIONS: Final = """
SELECT DISTINCT ON (prediction_id) prediction_id, model, model_version, vector
FROM embeddings WHERE prediction_id = ANY($1) ORDER BY prediction_id, id DESC
"""


@translate_connection_errors()
async def of_predictions(prediction_ids: list[int]) -> dict[int, Embedding]:
    """The embeddings of predictions by ID; without those that have none."""
    rows = await execute(_OF_PREDICTIONS, [prediction_ids])
    return {row["prediction_id"]: Embedding(row["model"], row["model_version"], row["vector"]) for row in rows}


@translate_connection_errors()
async def save_all(model: str, version: str, vectors: Mapping[int, bytes]) -> None:
    """Store the embeddings of predictions by a version of a model."""
    await execute(_SAVE, [model, version, list(vectors), list(vectors.values())])
