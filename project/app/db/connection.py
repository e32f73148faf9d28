"""Connections to PostgreSQL: the pool, its configuration, and statements."""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg
from tortoise import connections
from tortoise.context import TortoiseContext
from tortoise.exceptions import DBConnectionError, OperationalError

from app.config import SYSTEM_CAS, Settings
from app.db.embedded import embedded_postgres, running_postgres
from app.db.errors import POOLED, SHARED_ERRORS, describe_error, translate_connection_errors
from app.domain import DatabaseUnavailable, StartupError, TablesMissing
from app.observability.log_events import DATABASE_AWAITED

log = logging.getLogger(__name__)

Result = TypeVar("Result")

APP: Final = "models"
MODELS: Final = ("app.models.tortoise",)
"""The modules with the service's tables."""
CONNECTION: Final = "default"
RETRY_SECONDS: Final = 0.25
IDLE_SECONDS: Final = 30.0
"""After which an unused connection is closed, so that other processes can open one; asyncpg's default is 300."""
APPLICATION: Final = "image-classifier "
MAX_APPLICATION_NAME: Final = 63
STATEMENT_SECONDS: Final = 30.0
"""Time limit of a statement, except in bulk work such as a backup."""


def tortoise_config(
    url: str, pool_size: int, statement_seconds: float | None = STATEMENT_SECONDS, *, models: Sequence[str] = MODELS
) -> dict[str, Any]:
    """Tortoise's configuration for the database at ``url``; ``statement_seconds``: time limit of a statement, or None.

    ``models``: modules with tables; migrations add aerich's.
    The URL is parsed here: Tortoise does not decode its user name, and interprets ``ssl=disable`` as enabled.
    """
    credentials = {
        **connection_options(url),
        "minsize": 1,
        "maxsize": pool_size,
        "timeout": 5,
        "command_timeout": statement_seconds,
        "max_inactive_connection_lifetime": IDLE_SECONDS,
        "application_name": application_name(),
        # By default every statement is followed by another that resets the session; nothing here changes it.
        "reset": skip_reset,
    }
    return {
        "connections": {CONNECTION: {"engine": "tortoise.backends.asyncpg", "credentials": credentials}},
        "apps": {APP: {"models": list(models), "default_connection": CONNECTION}},
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
        "ssl": _tls(options),
    }


def application_name() -> str:
    """The name of this process for the database, with its host and PID: all its connections have it."""
    process = f":{os.getpid()}"
    # The end of a long host name is what distinguishes pods.
    room = MAX_APPLICATION_NAME - len(APPLICATION) - len(process)
    return f"{APPLICATION}{socket.gethostname()[-room:]}{process}"


def _tls(options: dict[str, str]) -> str | ssl.SSLContext:
    """Asyncpg's argument ``ssl``; it knows sslrootcert only as a part of a URL. Raises StartupError."""
    root = options.get("sslrootcert")
    # As in libpq: the authorities of the machine only make sense together with the host's name.
    mode = options.get("sslmode", "verify-full" if root == SYSTEM_CAS else "prefer")
    if not root or mode in {"disable", "allow", "prefer"}:
        return mode
    try:
        context = ssl.create_default_context(cafile=None if root == SYSTEM_CAS else root)
    except (OSError, ssl.SSLError) as error:
        raise StartupError(f"sslrootcert={root} in DATABASE_URL cannot be read: {error.strerror or error}.") from error
    # As in libpq, a root certificate turns require into verify-ca.
    context.check_hostname = mode == "verify-full"
    return context


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
    url: str,
    settings: Settings,
    statement_seconds: float | None = STATEMENT_SECONDS,
    *,
    models: Sequence[str] = MODELS,
) -> AsyncIterator[None]:
    """Connect Tortoise to the database at ``url`` once it responds. Bulk work has no ``statement_seconds``.

    Raises StartupError if it does not respond within ``database_wait_seconds``, or rejects user, password or database.
    """
    # Requests run in the server's tasks, which do not inherit this context: they use the global fallback.
    async with TortoiseContext() as context:
        config = tortoise_config(url, settings.database_pool_size, statement_seconds, models=models)
        await context.init(config=config, _enable_global_fallback=True)
        await _wait_until_ready(url, settings.database_wait_seconds)
        yield


async def _wait_until_ready(url: str, seconds: float) -> None:
    options = connection_options(url)
    address = f"{options['host']}:{options['port']}"
    try:
        await when_available(partial(_try_connection, address), seconds)
    except DatabaseUnavailable as error:
        if error.has_reason:
            raise StartupError(f"{error.message} ({describe_error(error)})") from None
        reason = describe_error(error)
        raise StartupError(
            f"The database at {address} did not respond within {seconds:g} s ({reason}): check DATABASE_URL."
        ) from None


async def _try_connection(address: str) -> None:
    """Raises DatabaseUnavailable, or StartupError if it makes no sense to try again."""
    try:
        await execute("SELECT 1")
    except (asyncpg.InvalidAuthorizationSpecificationError, DBConnectionError) as error:
        # Tortoise only raises DBConnectionError if the database does not exist.
        raise StartupError(
            f"The database at {address} refused the connection ({error}): check DATABASE_URL."
        ) from error
    except OperationalError as error:
        if isinstance(error.__cause__, SHARED_ERRORS):
            raise StartupError(POOLED) from error
        raise
    except ssl.SSLCertVerificationError as error:
        raise StartupError(
            f"The certificate of the database at {address} is not trusted ({error.verify_message}): add "
            "sslrootcert=FILE with the certificate of its authority to DATABASE_URL."
        ) from error
    except asyncpg.ClientConfigurationError as error:
        raise StartupError(
            f"The TLS settings of DATABASE_URL cannot be used ({str(error).splitlines()[0]}): add sslrootcert=FILE, or "
            "sslrootcert=system for the certificate authorities of this machine."
        ) from error


async def when_available(call: Callable[[], Awaitable[Result]], seconds: float) -> Result:
    """The result of ``call``, which is repeated while the database is unavailable, for up to ``seconds``.

    Raises DatabaseUnavailable after that.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    first: DatabaseUnavailable | None = None
    while first is None or asyncio.get_running_loop().time() < deadline:
        try:
            async with translate_connection_errors(), asyncio.timeout_at(deadline):
                return await call()
        except TablesMissing:
            raise
        except DatabaseUnavailable as error:
            if first is None:
                first = error
                client: Any = connections.get(CONNECTION)
                log.info(DATABASE_AWAITED, f"{client.host}:{client.port}", describe_error(error))
        await asyncio.sleep(RETRY_SECONDS)
    raise first


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
    connection = await asyncpg.connect(
        **connection_options(url),
        timeout=5,
        command_timeout=statement_seconds,
        server_settings={"application_name": application_name()},
    )
    try:
        yield connection
    except BaseException:
        # A graceful close could wait for a broken network.
        connection.terminate()
        raise
    else:
        await connection.close()
