"""Database migrations (aerich): apply them, and find out which are missing."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import asyncpg

from app.concurrency import in_background
from app.config import MIGRATIONS_DIR, Settings
from app.db.advisory_locks import MIGRATE
from app.db.connection import (
    APP,
    MODELS,
    STATEMENT_SECONDS,
    application_name,
    connected,
    dedicated_connection,
    execute,
    tortoise_config,
)
from app.db.errors import translate_connection_errors
from app.db.server_checks import check_server
from app.domain import StartupError
from app.observability.log_events import MIGRATION_BLOCKED, MIGRATION_QUEUED, MIGRATIONS_APPLIED

log = logging.getLogger(__name__)

MIGRATED_MODELS: Final = (*MODELS, "aerich.models")
"""The service's tables, and aerich's list of migrations. The service leaves aerich out: importing it takes 15 ms."""
BLOCKED_SECONDS: Final = 5.0
"""Interval between reports that a migration waits for a lock."""
_BLOCKERS: Final = """
SELECT DISTINCT format('PID %s (%s, %s, %s for %s s)', blocker.pid, blocker.usename,
                       coalesce(nullif(blocker.application_name, ''), 'unnamed program'), blocker.state,
                       extract(epoch from now() - blocker.xact_start)::int) AS session
FROM pg_stat_activity AS waiting
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocking (pid)
JOIN pg_stat_activity AS blocker ON blocker.pid = blocking.pid
WHERE waiting.application_name = $1
"""


def aerich_config() -> dict[str, Any]:
    """Tortoise's configuration for aerich's command line, with the database of the environment."""
    url = Settings().database_url
    if url is None:
        raise StartupError("Set DATABASE_URL to use aerich's command line.")
    return migration_config(url.get_secret_value())


def migration_config(url: str, statement_seconds: float | None = STATEMENT_SECONDS) -> dict[str, Any]:
    """Tortoise's configuration with aerich's own table."""
    return tortoise_config(url, pool_size=2, statement_seconds=statement_seconds, models=MIGRATED_MODELS)


async def migrate(url: str, settings: Settings) -> list[str]:
    """Apply all missing migrations and return their names.

    Any number of processes may call this concurrently: they take turns, and all but the first find nothing to do.
    Raises StartupError or DatabaseUnavailable.
    """
    # Imported on demand: only this command needs aerich.
    from aerich import Command

    command = Command(migration_config(url, statement_seconds=None), app=APP, location=str(MIGRATIONS_DIR))
    async with connected(url, settings, models=MIGRATED_MODELS), translate_connection_errors():
        if settings.database_url:
            await check_server(url, settings)
        async with dedicated_connection(url, statement_seconds=None) as lock:
            # The lock is released with its session.
            if not await lock.fetchval("SELECT pg_try_advisory_lock($1)", MIGRATE):
                log.info(MIGRATION_QUEUED)
                await lock.execute("SELECT pg_advisory_lock($1)", MIGRATE)
            await command.init()
            async with in_background(_report_blockers(lock)):
                return await command.upgrade(run_in_transaction=True)


async def _report_blockers(connection: asyncpg.Connection) -> None:
    """Log which sessions block this process's statements, as long as they do."""
    while True:
        await asyncio.sleep(BLOCKED_SECONDS)
        rows = await connection.fetch(_BLOCKERS, application_name())
        if rows:
            log.warning(MIGRATION_BLOCKED, "; ".join(row["session"] for row in rows))


async def migrate_if_needed(url: str, settings: Settings) -> None:
    """Apply missing migrations; if there are none, without the time that aerich takes. Raises DatabaseUnavailable."""
    async with translate_connection_errors(), dedicated_connection(url) as connection:
        pending = await _pending(connection.fetch)
    if pending:
        log.info(MIGRATIONS_APPLIED, ", ".join(await migrate(url, settings)))


@cache
def migration_files() -> list[str]:
    """Names of all migrations of this version, oldest first."""
    names = (path.name for path in (MIGRATIONS_DIR / APP).glob("[0-9]*_*.py"))
    return sorted(names, key=lambda name: int(name.split("_")[0]))


@translate_connection_errors()
async def pending_migrations() -> list[str]:
    """Migrations that are not applied yet. Raises DatabaseUnavailable."""
    return await _pending(lambda statement, *values: execute(statement, list(values)))


async def _pending(fetch: Callable[..., Awaitable[Sequence[Mapping[str, Any]]]]) -> list[str]:
    (table,) = await fetch("SELECT to_regclass('aerich') IS NOT NULL AS exists")
    rows = await fetch("SELECT version FROM aerich WHERE app = $1", APP) if table["exists"] else []
    applied = {row["version"] for row in rows}
    return [name for name in migration_files() if name not in applied]
