"""Checks of a PostgreSQL server before it is used: poolers, and the number of connections."""

import logging
from dataclasses import dataclass
from typing import Final

import asyncpg

from app.config import Settings
from app.db.connection import APPLICATION, application_name, dedicated_connection, raw_connection
from app.db.errors import translate_connection_errors
from app.domain import StartupError
from app.observability.log_events import DATABASE_CROWDED

log = logging.getLogger(__name__)

PROBES: Final = 3
"""Sessions that are tried: other clients of a pooler may take the server connection that a probe waits for."""
OTHER_CONNECTIONS: Final = {"local": 1, "pgqueuer": 8}
"""Connections of a process outside its pool, at most: for notifications, and a worker's for its two kinds of jobs."""
SHARED_ERRORS: Final = (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError)
"""What another session's statements on the same server connection lead to."""

_CONNECTIONS: Final = """
SELECT least(
           current_setting('max_connections')::int - CASE WHEN rolsuper THEN 0 ELSE
               current_setting('superuser_reserved_connections')::int
               + coalesce(current_setting('reserved_connections', true), '0')::int
           END,
           CASE WHEN rolconnlimit < 0 OR rolsuper THEN 1000000 ELSE rolconnlimit END,
           CASE WHEN datconnlimit < 0 OR rolsuper THEN 1000000 ELSE datconnlimit END
       ) AS allowed,
       (SELECT count(DISTINCT application_name) FROM pg_stat_activity
        WHERE starts_with(application_name, $1) AND application_name <> $2) AS processes,
       (SELECT count(*) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND NOT starts_with(application_name, $1)) AS others
FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class Connections:
    """Connections to the server: how many it allows to this account, and how many may be needed."""

    allowed: int
    each: int
    """That each process of the service may open."""
    processes: int
    """Of the service, this one included."""
    others: int
    """Of other programs, now."""

    @property
    def problem(self) -> str:
        """What is wrong and what to do, as a sentence; empty if there are enough."""
        if self.each * self.processes + self.others <= self.allowed:
            return ""
        needed = f"{self.processes} processes may open {self.each} connections each"
        if self.processes == 1:
            needed = f"This process may open {self.each} connections"
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
            raise StartupError(
                "DATABASE_URL leads to a pooler in transaction mode, such as PgBouncer, but notifications and locks "
                "need a session of their own: name the database itself, or a pool in session mode."
            )
        counted = await _count(connection, settings)
    if counted.problem:
        log.warning(DATABASE_CROWDED, counted.problem)


async def count_connections(settings: Settings) -> Connections:
    """Connections to the server. Raises DatabaseUnavailable."""
    async with translate_connection_errors(), raw_connection() as connection:
        return await _count(connection, settings)


async def _count(connection: asyncpg.Connection, settings: Settings) -> Connections:
    row = await connection.fetchrow(_CONNECTIONS, APPLICATION, application_name())
    assert row is not None
    each = settings.database_pool_size + OTHER_CONNECTIONS[settings.queue]
    return Connections(row["allowed"], each, row["processes"] + 1, row["others"])


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
