"""The images most similar to one, and the index that finds them faster.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from dataclasses import dataclass
from typing import Final

import asyncpg

from app.db.advisory_locks import SIMILAR_INDEX
from app.db.connection import dedicated_connection, execute
from app.db.crud.embeddings import bits
from app.db.errors import translate_connection_errors
from app.db.transactions import transaction
from app.domain import ImageEmbedding, StartupError

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
    if any(index.name == name and index.is_valid for index in await indexes()):
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
async def indexes() -> list[SimilarIndex]:
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


async def create_index(url: str, size: int, memory_mb: int) -> None:
    """Create the index for codes of ``size`` bits, in place of one whose creation was interrupted.

    Uploads go on meanwhile. ``memory_mb``: MiB that the server may use; with less than the index needs, it takes much
    longer. Raises StartupError if the database's user may not install pgvector, or if another process is creating it,
    or DatabaseUnavailable.
    """
    async with translate_connection_errors(), dedicated_connection(url, statement_seconds=None) as connection:
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", SIMILAR_INDEX):
            raise StartupError("The index is being created already.")
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except asyncpg.InsufficientPrivilegeError as error:
            raise StartupError(
                "The database's user may not install pgvector: have an administrator run "
                "`CREATE EXTENSION vector` in this database."
            ) from error
        await connection.execute(f"SET maintenance_work_mem = '{memory_mb}MB'")
        await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{INDEX_NAME}{size}"')
        await connection.execute(_CREATE_INDEX.format(name=f"{INDEX_NAME}{size}", bits=size))


async def drop_index(url: str, name: str) -> None:
    """Delete an index; uploads go on meanwhile. Raises DatabaseUnavailable."""
    async with translate_connection_errors(), dedicated_connection(url, statement_seconds=None) as connection:
        await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{name}"')
