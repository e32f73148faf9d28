"""Embeddings of images, in half precision.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from collections.abc import Mapping
from typing import Final

import asyncpg

from app.db.connection import execute
from app.db.errors import translate_connection_errors
from app.domain import OTHER, ImageEmbedding

# Predictions that were deleted in the meantime are left out.
_SAVE: Final = """
INSERT INTO embeddings (prediction_id, model, model_version, vector, code)
SELECT id, model, version, vector, code
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::varbit[]) AS new (id, model, version, vector, code)
JOIN (SELECT id FROM predictions WHERE id = ANY($1) ORDER BY id FOR KEY SHARE) AS kept USING (id) ORDER BY id
ON CONFLICT (prediction_id, model) DO UPDATE
SET model_version = excluded.model_version, vector = excluded.vector, code = excluded.code
"""
# An image may have been classified by several models: first by the one of the current result, then by the newest.
_OF_PREDICTIONS: Final = """
SELECT DISTINCT ON (prediction_id) prediction_id, embeddings.model, embeddings.model_version, vector, code
FROM embeddings JOIN predictions ON predictions.id = prediction_id
WHERE prediction_id = ANY($1)
ORDER BY prediction_id,
    (embeddings.model = predictions.model AND embeddings.model_version = predictions.model_version) DESC,
    embeddings.id DESC
"""
_OF_OTHERS: Final = """
SELECT vector FROM predictions JOIN embeddings ON prediction_id = predictions.id
WHERE predictions.model = $1 AND reviewed_at IS NOT NULL AND top_prediction = $4
    AND embeddings.model = $2 AND embeddings.model_version = $3
ORDER BY sha256, predictions.id LIMIT $5
"""


@translate_connection_errors()
async def of_predictions(prediction_ids: list[int]) -> dict[int, ImageEmbedding]:
    """The embeddings of predictions by ID; without those that have none."""
    rows = await execute(_OF_PREDICTIONS, [prediction_ids])
    return {
        row["prediction_id"]: ImageEmbedding(
            row["model"], row["model_version"], row["vector"], row["code"].bytes if row["code"] else b""
        )
        for row in rows
    }


@translate_connection_errors()
async def of_others(model: str, base: str, base_version: str, limit: int) -> list[bytes]:
    """Vectors of images of which people say that they have none of the labels of a custom model, by content."""
    return [row["vector"] for row in await execute(_OF_OTHERS, [model, base, base_version, OTHER, limit])]


@translate_connection_errors()
async def save_all(embeddings: Mapping[int, ImageEmbedding]) -> None:
    """Store the embeddings of predictions."""
    kept = list(embeddings.values())
    await execute(
        _SAVE,
        [
            list(embeddings),
            [one.model for one in kept],
            [one.version for one in kept],
            [one.vector for one in kept],
            [bits(one) for one in kept],
        ],
    )


def bits(embedding: ImageEmbedding) -> asyncpg.BitString:
    """The code of an embedding as the database has it."""
    return asyncpg.BitString.frombytes(embedding.code, embedding.features)
