"""Embeddings of images, in half precision.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from collections.abc import Mapping
from typing import Final

from app.db.connection import execute
from app.db.errors import translate_connection_errors

# Predictions that were deleted in the meantime are left out.
_SAVE: Final = """
INSERT INTO embeddings (prediction_id, model, model_version, vector)
SELECT id, $1, $2, vector FROM unnest($3::bigint[], $4::bytea[]) AS new (id, vector)
JOIN (SELECT id FROM predictions WHERE id = ANY($3) ORDER BY id FOR KEY SHARE) AS kept USING (id) ORDER BY id
ON CONFLICT (prediction_id, model) DO UPDATE
SET model_version = excluded.model_version, vector = excluded.vector
"""


@translate_connection_errors()
async def save_all(model: str, version: str, vectors: Mapping[int, bytes]) -> None:
    """Store the embeddings of predictions by a version of a model."""
    await execute(_SAVE, [model, version, list(vectors), list(vectors.values())])
