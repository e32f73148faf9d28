"""Queries on PgQueuer's tables: what lacks a job, and the queue's log."""

from typing import Final

import asyncpg

from app.db.connection import execute
from app.db.errors import translate_connection_errors

_PREDICTIONS_WITHOUT_JOB: Final = """
SELECT id FROM predictions
WHERE (status = 'pending' OR (status = 'processing' AND lease_expires_at < now())) AND NOT EXISTS (
    SELECT FROM pgqueuer
    WHERE entrypoint = $1 AND status IN ('queued', 'picked') AND split_part(dedupe_key, '/', 2) = predictions.id::text
)
ORDER BY id LIMIT $2
"""
_DELIVERIES_WITHOUT_JOB: Final = """
SELECT id FROM deliveries
WHERE status = 'pending' AND next_attempt_at <= now() AND NOT EXISTS (
    SELECT FROM pgqueuer WHERE status IN ('queued', 'picked') AND dedupe_key = $1 || '/' || deliveries.id || '/'
)
ORDER BY next_attempt_at LIMIT $2
"""
# PgQueuer writes three log rows per job and never deletes any. Nothing here reads them; they help to debug. Several
# processes may prune concurrently without waiting for each other.
_PRUNE_LOG: Final = """
DELETE FROM pgqueuer_log WHERE id IN (
    SELECT id FROM pgqueuer_log WHERE created < now() - interval '10 minutes'
    ORDER BY created LIMIT $1 FOR UPDATE SKIP LOCKED
)
RETURNING id
"""


async def lock(connection: asyncpg.Connection, number: int) -> None:
    """Take an advisory lock, which the connection holds until it is closed."""
    await connection.execute("SELECT pg_advisory_lock($1)", number)


async def are_tables_installed() -> bool:
    """Whether the queue's tables exist."""
    (row,) = await execute("SELECT to_regclass('pgqueuer') IS NOT NULL AS exists")
    return bool(row["exists"])


async def try_lock(number: int) -> bool:
    """Take an advisory lock until the end of the current transaction, unless another process holds it."""
    (row,) = await execute("SELECT pg_try_advisory_xact_lock($1) AS acquired", [number])
    return bool(row["acquired"])


async def predictions_without_job(entrypoint: str, limit: int) -> list[int]:
    """IDs of unfinished predictions that have no job, oldest first."""
    return [row["id"] for row in await execute(_PREDICTIONS_WITHOUT_JOB, [entrypoint, limit])]


async def deliveries_without_job(entrypoint: str, limit: int) -> list[int]:
    """IDs of due webhooks that have no job, the longest due first."""
    return [row["id"] for row in await execute(_DELIVERIES_WITHOUT_JOB, [entrypoint, limit])]


@translate_connection_errors()
async def prune_log(limit: int) -> int:
    """Delete old rows of the queue's log, at most ``limit``; returns how many. Raises DatabaseUnavailable."""
    return len(await execute(_PRUNE_LOG, [limit]))
