"""Connections to PostgreSQL: the pool, its configuration, and statements."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg
from tortoise import connections
from tortoise.context import TortoiseContext
from tortoise.exceptions import DBConnectionError

from app.config import Settings
from app.db.embedded import embedded_postgres, running_postgres
from app.db.errors import UNREACHABLE_ERRORS, describe_error
from app.domain import StartupError
from app.observability.log_events import DATABASE_AWAITED

log = logging.getLogger(__name__)

APP: Final = "models"
CONNECTION: Final = "default"
RETRY_SECONDS: Final = 0.25
STATEMENT_SECONDS: Final = 30.0
"""Time limit of a statement, except in bulk work such as a backup."""


def tortoise_config(url: str, pool_size: int, statement_seconds: float | None = STATEMENT_SECONDS) -> dict[str, Any]:
    """Tortoise's configuration for the database at ``url``; ``statement_seconds``: time limit of a statement, or None.

    The URL is parsed here: Tortoise does not decode its user name, and interprets ``ssl=disable`` as enabled.
    """
    credentials = {
        **connection_options(url),
        "minsize": 1,
        "maxsize": pool_size,
        "timeout": 5,
        "command_timeout": statement_seconds,
        "application_name": "image-classifier",
        # By default every statement is followed by another that resets the session; nothing here changes it.
        "reset": skip_reset,
    }
    return {
        "connections": {CONNECTION: {"engine": "tortoise.backends.asyncpg", "credentials": credentials}},
        "apps": {APP: {"models": ["app.models.tortoise", "aerich.models"], "default_connection": CONNECTION}},
        "use_tz": True,
        "timezone": "UTC",
    }


async def skip_reset(_connection: object) -> None:
    """Does nothing; asyncpg awaits it before a connection returns to the pool."""


def connection_options(url: str) -> dict[str, Any]:
    """Keyword arguments of asyncpg for a database URL."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    return {
        # The option names the folder of a Unix socket, as in libpq.
        "host": options.get("host") or parts.hostname or "localhost",
        "port": parts.port or 5432,
        "user": unquote(parts.username or "postgres"),
        "password": unquote(parts.password or ""),
        "database": unquote(parts.path.lstrip("/")) or "postgres",
        "ssl": options.get("sslmode", "prefer"),
    }


@asynccontextmanager
async def database_url(settings: Settings) -> AsyncIterator[str]:
    """The database's URL; without ``DATABASE_URL`` the embedded server runs while inside."""
    if settings.database_url:
        yield settings.database_url.get_secret_value()
    else:
        async with embedded_postgres(settings.data_dir, settings.database_wait_seconds) as url:
            yield url


@asynccontextmanager
async def database_url_in_use(settings: Settings) -> AsyncIterator[str]:
    """As ``database_url``, for a command that may run alongside the service: also the service's embedded server."""
    url = None if settings.database_url else running_postgres(settings.data_dir)
    if url is not None:
        yield url
        return
    async with database_url(settings) as url:
        yield url


@asynccontextmanager
async def database_in_use(
    settings: Settings, statement_seconds: float | None = STATEMENT_SECONDS
) -> AsyncIterator[None]:
    """Connect for a command that may run alongside the service, also to the service's embedded server.

    Raises StartupError.
    """
    async with database_url_in_use(settings) as url, connected(url, settings, statement_seconds):
        yield


@asynccontextmanager
async def connected(
    url: str, settings: Settings, statement_seconds: float | None = STATEMENT_SECONDS
) -> AsyncIterator[None]:
    """Connect Tortoise to the database at ``url`` once it responds. Bulk work has no ``statement_seconds``.

    Raises StartupError if it does not respond within ``database_wait_seconds``, or rejects user, password or database.
    """
    # Requests run in the server's tasks, which do not inherit this context: they use the global fallback.
    async with TortoiseContext() as context:
        config = tortoise_config(url, settings.database_pool_size, statement_seconds)
        await context.init(config=config, _enable_global_fallback=True)
        await _wait_until_ready(url, settings.database_wait_seconds)
        yield


async def _wait_until_ready(url: str, seconds: float) -> None:
    options = connection_options(url)
    address = f"{options['host']}:{options['port']}"
    reason = ""
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await execute("SELECT 1")
                    return
                except (asyncpg.InvalidAuthorizationSpecificationError, DBConnectionError) as error:
                    # Tortoise only raises DBConnectionError if the database does not exist.
                    raise StartupError(
                        f"The database at {address} refused the connection ({error}): check DATABASE_URL."
                    ) from error
                except UNREACHABLE_ERRORS as error:
                    if not reason:
                        log.info(DATABASE_AWAITED, address, describe_error(error))
                    reason = describe_error(error)
                    await asyncio.sleep(RETRY_SECONDS)
    except TimeoutError:
        raise StartupError(
            f"The database at {address} did not respond within {seconds:g} s ({reason or 'no response'}): "
            "check DATABASE_URL."
        ) from None


async def execute(query: str, values: list[Any] | None = None) -> list[dict[str, Any]]:
    """Execute a statement and return its rows; Tortoise's own update cannot return any."""
    rows: list[dict[str, Any]] = await connections.get(CONNECTION).execute_query_dict(query, values)
    return rows


async def server_version() -> tuple[int, str]:
    """Number (``170002``) and name (``PostgreSQL 17.2``) of the server's version."""
    (row,) = await execute("SELECT current_setting('server_version_num')::int AS number, version() AS version")
    return int(row["number"]), " ".join(row["version"].split()[:2])


def columns(rows: list[tuple[Any, ...]]) -> list[Any]:
    """Rows as arrays for ``unnest``, which turns them back into rows: one statement for any number of them."""
    return [list(column) for column in zip(*rows, strict=True)]


@asynccontextmanager
async def raw_connection() -> AsyncIterator[asyncpg.Connection]:
    """The asyncpg connection of the current transaction, or else one from the pool."""
    async with connections.get(CONNECTION).acquire_connection() as connection:
        yield connection


@asynccontextmanager
async def dedicated_connection(url: str, statement_seconds: float | None = 10) -> AsyncIterator[asyncpg.Connection]:
    """A connection outside the pool, for what belongs to a session: locks and LISTEN."""
    connection = await asyncpg.connect(**connection_options(url), timeout=5, command_timeout=statement_seconds)
    try:
        yield connection
    except BaseException:
        # A graceful close could wait for a broken network.
        connection.terminate()
        raise
    else:
        await connection.close()
