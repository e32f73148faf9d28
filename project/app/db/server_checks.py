"""Checks of a PostgreSQL server before it is used: poolers, and the number of connections."""

import logging
from dataclasses import dataclass
from typing import Final

import asyncpg

from app.config import Settings
from app.db.connection import APPLICATION, application_name, dedicated_connection, execute, raw_connection
from app.db.errors import POOLED, SHARED_ERRORS, translate_connection_errors
from app.domain import StartupError
from app.observability.log_events import DATABASE_CROWDED

log = logging.getLogger(__name__)

PROBES: Final = 3
"""Sessions that are tried: other clients of a pooler may take the server connection that a probe waits for."""
OTHER_CONNECTIONS: Final = {"local": 1, "pgqueuer": 8}
"""Connections of a process outside its pool, at most: for notifications, and a worker's for its two kinds of jobs.

Web processes of pgqueuer open one, but are counted like workers.
"""
_CONNECTIONS: Final = """
WITH sessions AS (
    -- Without further permissions, the type of other accounts' sessions is not shown.
    SELECT usesysid, datid FROM pg_stat_activity
    WHERE usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
        AND NOT starts_with(coalesce(application_name, ''), $1)
), limits AS (
    SELECT current_setting('max_connections')::int - CASE WHEN rolsuper THEN 0 ELSE
               current_setting('superuser_reserved_connections')::int
               + coalesce(current_setting('reserved_connections', true), '0')::int
           END AS allowed, (SELECT count(*) FROM sessions) AS others
    FROM pg_roles WHERE rolname = current_user
    UNION ALL
    SELECT rolconnlimit, (SELECT count(*) FROM sessions WHERE usesysid = pg_roles.oid)
    FROM pg_roles WHERE rolname = current_user AND rolconnlimit >= 0 AND NOT rolsuper
    UNION ALL
    SELECT datconnlimit, (SELECT count(*) FROM sessions WHERE datid = pg_database.oid)
    FROM pg_database, pg_roles
    WHERE datname = current_database() AND rolname = current_user AND datconnlimit >= 0 AND NOT rolsuper
)
SELECT allowed, others,
       (SELECT count(DISTINCT application_name) FROM pg_stat_activity
        WHERE starts_with(application_name, $1) AND application_name <> $2) AS processes
FROM limits ORDER BY allowed - others LIMIT 1
"""
"""Of the limits of the server, the role and the database, the one that leaves least; and the service's processes."""
_MISSING_PERMISSIONS: Final = """
SELECT privilege || ' on ' || relname AS missing
FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND NOT has_table_privilege(oid, privilege)
UNION ALL
SELECT 'USAGE on ' || relname FROM pg_class
-- In this order: the function raises an error for what is no sequence.
WHERE CASE WHEN relkind = 'S' AND relnamespace = current_schema()::regnamespace
           THEN NOT has_sequence_privilege(oid, 'USAGE') END
ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Connections:
    """Connections to the server: how many it allows to this account, and how many may be needed."""

    allowed: int
    per_process: int
    """That each process of the service may open."""
    processes: int
    """Of the service, this one included."""
    others: int
    """Of other programs, now."""

    @property
    def problem(self) -> str:
        """What is wrong and what to do, as a sentence; empty if there are enough."""
        if self.per_process * self.processes + self.others <= self.allowed:
            return ""
        needed = f"{self.processes} processes may open {self.per_process} connections each"
        if self.processes == 1:
            needed = f"This process may open {self.per_process} connections"
        others = f", other programs use {self.others}" if self.others else ""
        return (
            f"{needed}{others}, and the database allows {self.allowed}: lower DATABASE_POOL_SIZE, or raise "
            "max_connections or the limit of the role."
        )


async def check_server(url: str, settings: Settings) -> None:
    """Raise StartupError for a pooler in transaction mode; warn if the server may run out of connections.

    Raises DatabaseUnavailable.
    """
    async with translate_connection_errors(), dedicated_connection(url) as connection:
        if await _shares_sessions(connection, url):
            raise StartupError(POOLED)
        encoding = await connection.fetchval("SHOW server_encoding")
        if encoding != "UTF8":
            raise StartupError(f"The database has the encoding {encoding}: create one with the encoding UTF8.")
        counted = await _count(connection, settings)
    if counted.problem:
        log.warning(DATABASE_CROWDED, counted.problem)


async def count_connections(settings: Settings) -> Connections:
    """Connections to the server. Raises DatabaseUnavailable."""
    async with translate_connection_errors(), raw_connection() as connection:
        return await _count(connection, settings)


async def missing_permissions() -> list[str]:
    """Permissions that the account lacks on the service's tables and sequences. Raises DatabaseUnavailable."""
    async with translate_connection_errors():
        return [row["missing"] for row in await execute(_MISSING_PERMISSIONS)]


async def _count(connection: asyncpg.Connection, settings: Settings) -> Connections:
    row = await connection.fetchrow(_CONNECTIONS, APPLICATION, application_name())
    assert row is not None
    per_process = settings.database_pool_size + OTHER_CONNECTIONS[settings.queue]
    return Connections(row["allowed"], per_process, row["processes"] + 1, row["others"])


async def _shares_sessions(connection: asyncpg.Connection, url: str) -> bool:
    """Whether two clients at once get the same session of the server."""
    for _ in range(PROBES):
        try:
            session = await _session_of(connection)
            # A pooler invents the number that it sends when a client connects.
            if session == connection.get_server_pid():
                return False
            async with dedicated_connection(url) as other:
                if await _session_of(other) == session:
                    return True
        except SHARED_ERRORS:
            return True
    return False


async def _session_of(connection: asyncpg.Connection) -> int:
    async with connection.transaction():
        return int(await connection.fetchval("SELECT pg_backend_pid()"))
