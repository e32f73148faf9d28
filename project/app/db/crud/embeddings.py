"""Embeddings of images, in half precision, and the images most similar to one.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import asyncpg

from app.db.advisory_locks import SIMILAR_INDEX
from app.db.connection import dedicated_connection, execute
from app.db.errors import translate_connection_errors
from app.db.transactions import transaction
from app.domain import OTHER, ImageEmbedding, PgvectorRefused, StartupError

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
_COMPARED: Final = "model = $2 AND model_version = $3 AND prediction_id <> $4"
# All codes are read, 250 bytes a row; vectors are stored elsewhere, and read for the result only.
_NEAREST: Final = f"""
SELECT prediction_id, vector FROM embeddings WHERE {_COMPARED} AND code IS NOT NULL
ORDER BY bit_count(code # $1) LIMIT $5
"""  # noqa: S608 - conditions of ours # nosec B608
# The expression and the condition of the index. Its result is approximate.
NEAREST_BY_INDEX: Final = f"""
SELECT prediction_id, vector FROM embeddings WHERE {_COMPARED} AND bit_length(code) = {{bits}}
ORDER BY code::bit({{bits}}) <~> $1::bit({{bits}}) LIMIT $5
"""  # noqa: S608 - conditions of ours # nosec B608
_CREATE_INDEX: Final = """
CREATE INDEX CONCURRENTLY "{name}" ON embeddings USING hnsw ((code::bit({bits})) bit_hamming_ops)
WHERE bit_length(code) = {bits}
"""
INDEX_NAME: Final = "idx_embeddings_similar_"
"""Prefix of the names of indexes of pgvector; the number of bits follows."""
_INDEXES: Final = """
SELECT relname AS name, indisvalid AS is_valid, pg_relation_size(pg_class.oid) AS bytes
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid = 'embeddings'::regclass AND starts_with(relname, $1)
ORDER BY relname
"""
_EXTENSION: Final = """
SELECT coalesce(installed_version, default_version) AS version FROM pg_available_extensions WHERE name = 'vector'
"""
_SIZES: Final = "SELECT DISTINCT bit_length(code) AS bits FROM embeddings WHERE code IS NOT NULL ORDER BY 1"
MAX_EF_SEARCH: Final = 1_000
"""Candidates that the index considers at most: the limit of pgvector."""


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


_OF_OTHERS: Final = """
SELECT vector FROM predictions JOIN embeddings ON prediction_id = predictions.id
WHERE predictions.model = $1 AND reviewed_at IS NOT NULL AND top_prediction = $4
    AND embeddings.model = $2 AND embeddings.model_version = $3
ORDER BY sha256, predictions.id LIMIT $5
"""


@translate_connection_errors()
async def of_others(model: str, base: str, base_version: str, limit: int) -> list[bytes]:
    """Vectors of images of which people say that they have none of the labels of a custom model, by content."""
    return [row["vector"] for row in await execute(_OF_OTHERS, [model, base, base_version, OTHER, limit])]


@dataclass(frozen=True, slots=True)
class SimilarIndex:
    """An index of pgvector; not valid if its creation was interrupted."""

    name: str
    is_valid: bool
    bytes: int


@translate_connection_errors()
async def nearest(embedding: ImageEmbedding, prediction_id: int, limit: int) -> dict[int, bytes]:
    """Vectors of the other predictions whose codes differ in the fewest bits, by ID.

    Without an index for codes of this length, all codes are compared.
    """
    values = [bits(embedding), embedding.model, embedding.version, prediction_id, limit]
    name = f"{INDEX_NAME}{embedding.features}"
    if any(index.name == name and index.is_valid for index in await similar_indexes()):
        async with transaction():
            await execute(f"SET LOCAL hnsw.ef_search = {min(2 * limit, MAX_EF_SEARCH)}")
            # Continues past rows of other models, for up to 20,000 rows.
            await execute("SET LOCAL hnsw.iterative_scan = 'relaxed_order'")
            rows = await execute(NEAREST_BY_INDEX.format(bits=embedding.features), values)
        if len(rows) >= limit:
            return {row["prediction_id"]: row["vector"] for row in rows}
    rows = await execute(_NEAREST, values)
    return {row["prediction_id"]: row["vector"] for row in rows}


@translate_connection_errors()
async def similar_indexes() -> list[SimilarIndex]:
    """The indexes of pgvector that exist."""
    return [SimilarIndex(**row) for row in await execute(_INDEXES, [INDEX_NAME])]


@translate_connection_errors()
async def pgvector_version() -> str | None:
    """The version of pgvector that is installed, or could be; None if the server does not have it."""
    rows = await execute(_EXTENSION)
    return str(rows[0]["version"]) if rows else None


@translate_connection_errors()
async def code_sizes() -> list[int]:
    """The lengths of codes that exist, in bits."""
    return [int(row["bits"]) for row in await execute(_SIZES)]


async def create_similar_index(url: str, size: int, memory_bytes: int) -> None:
    """Create the index for codes of ``size`` bits, in place of one whose creation was interrupted.

    Uploads go on meanwhile. ``memory_bytes``: what the server may use; with less than the index needs, it takes much
    longer. Raises PgvectorRefused if the database's user may not install pgvector, StartupError if another process is
    creating it, or DatabaseUnavailable.
    """
    async with translate_connection_errors(), dedicated_connection(url, statement_seconds=None) as connection:
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", SIMILAR_INDEX):
            raise StartupError("The index is being created already.")
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except asyncpg.InsufficientPrivilegeError as error:
            raise PgvectorRefused from error
        await connection.execute(f"SET maintenance_work_mem = '{memory_bytes // 2**20}MB'")
        await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{INDEX_NAME}{size}"')
        await connection.execute(_CREATE_INDEX.format(name=f"{INDEX_NAME}{size}", bits=size))


async def drop_similar_index(url: str, name: str) -> None:
    """Delete an index; uploads go on meanwhile. Raises DatabaseUnavailable."""
    async with translate_connection_errors(), dedicated_connection(url, statement_seconds=None) as connection:
        await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{name}"')


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
