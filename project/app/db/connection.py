"""The database: connecting to it, migrating it, and telling when it is away."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg
from tortoise import connections
from tortoise.context import TortoiseContext
from tortoise.exceptions import DBConnectionError, OperationalError
from tortoise.transactions import in_transaction

from app.config import MIGRATIONS_DIR, Settings
from app.domain import DatabaseUnavailable, StartupError, TablesMissing
from app.log_events import DATABASE_AWAITED
from app.postgres import embedded_postgres, running_postgres

log = logging.getLogger(__name__)

APP: Final = "models"
CONNECTION: Final = "default"
# Any number will do, as long as every process that migrates takes the same one.
MIGRATION_LOCK: Final = 8004_2026

BROKE: Final = (
    TimeoutError,
    ConnectionResetError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
OUTDATED: Final = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)
ENDED_WHILE_IDLE: Final = "another operation (2) is in progress"
"""How asyncpg's protocol says that it is taking in an error (its state 2) that no statement of ours has caused."""
LOST: Final = ("closed", "released back to the pool")
"""What asyncpg says of a connection whose end it had noticed before a statement was to use it."""

AWAY: Final = (
    # Refused, reset, unreachable, unresolvable, timed out: asyncio raises plain OSError for some of them.
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    DBConnectionError,
)
"""What comes up, untranslated, from asyncpg and Tortoise while the database is away."""


def __getattr__(name: str) -> Any:
    """``TORTOISE_ORM``, for aerich's own command line; made when asked for, since it reads the environment."""
    if name != "TORTOISE_ORM":
        raise AttributeError(name)
    url = Settings().database_url
    if url is None:
        raise StartupError("Set DATABASE_URL to use aerich's command line.")
    return tortoise_config(url.get_secret_value(), pool_size=2)


def tortoise_config(url: str, pool_size: int, statement_seconds: float | None = 30) -> dict[str, Any]:
    """Tortoise's configuration for a PostgreSQL at ``url``; a statement may take so long, or as long as it takes.

    The address is taken apart here: Tortoise reads a URL without decoding its user name, and turns ``ssl=disable`` on.
    """
    credentials = {
        **address(url),
        "minsize": 1,
        "maxsize": pool_size,
        "timeout": 5,
        "command_timeout": statement_seconds,
        "application_name": "image-classifier",
        # Otherwise every statement is followed by another that resets its connection; nothing here sets anything.
        "reset": skip_reset,
    }
    return {
        "connections": {CONNECTION: {"engine": "tortoise.backends.asyncpg", "credentials": credentials}},
        "apps": {APP: {"models": ["app.models.tortoise", "aerich.models"], "default_connection": CONNECTION}},
        "use_tz": True,
        "timezone": "UTC",
    }


async def skip_reset(_connection: object) -> None:
    """What asyncpg awaits before a connection goes back to the pool."""


def address(url: str) -> dict[str, Any]:
    """Where a database is and who asks, as asyncpg's keyword arguments."""
    parts = urlsplit(url)
    return {
        "host": parts.hostname or "localhost",
        "port": parts.port or 5432,
        "user": unquote(parts.username or "postgres"),
        "password": unquote(parts.password or ""),
        "database": unquote(parts.path.lstrip("/")) or "postgres",
        "ssl": dict(parse_qsl(parts.query)).get("sslmode", "prefer"),
    }


@asynccontextmanager
async def database_url(settings: Settings) -> AsyncIterator[str]:
    """The URL of the database in use; while inside, the embedded server runs if ``DATABASE_URL`` is not set."""
    if settings.database_url:
        yield settings.database_url.get_secret_value()
    else:
        async with embedded_postgres(settings.data_dir, settings.database_wait_seconds) as url:
            yield url


@asynccontextmanager
async def database_in_use(settings: Settings) -> AsyncIterator[None]:
    """Connected to the database, for a command that may run beside the service: also to its embedded server.

    Raises StartupError.
    """
    url = None if settings.database_url else running_postgres(settings.data_dir)
    if url is not None:
        async with connected(url, settings):
            yield
        return
    async with database_url(settings) as url, connected(url, settings):
        yield


@asynccontextmanager
async def connected(url: str, settings: Settings) -> AsyncIterator[None]:
    """Connect Tortoise to the database at ``url``, waiting for it to answer.

    Raises StartupError if it does not within ``database_wait_seconds``, or refuses the name, password or database.
    """
    # Requests are tasks of the server's and do not inherit this context: the global fallback is for them.
    async with TortoiseContext() as context:
        config = tortoise_config(url, settings.database_pool_size)
        await context.init(config=config, _enable_global_fallback=True)
        await _wait_until_ready(url, settings.database_wait_seconds)
        yield


async def _wait_until_ready(url: str, seconds: float) -> None:
    where = urlsplit(url)
    address = f"{where.hostname}:{where.port or 5432}"
    reason = ""
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await execute("SELECT 1")
                    return
                except (asyncpg.InvalidAuthorizationSpecificationError, DBConnectionError) as error:
                    # The only DBConnectionError of Tortoise's: there is no such database.
                    raise StartupError(
                        f"The database at {address} refused the connection ({error}): check DATABASE_URL."
                    ) from error
                except AWAY as error:
                    if not reason:
                        log.info(DATABASE_AWAITED, address, said(error))
                    reason = said(error)
                    await asyncio.sleep(0.25)
    except TimeoutError:
        raise StartupError(
            f"The database at {address} did not respond within {seconds:g} s ({reason or 'no response'}): "
            "check DATABASE_URL."
        ) from None


def said(error: BaseException) -> str:
    """What an error says, or that which it was raised for; its class where that is nothing."""
    first = error.__cause__ or error
    return str(first) or type(first).__name__


@asynccontextmanager
async def translate_connection_errors() -> AsyncIterator[None]:
    """Turn the many ways in which a database is away into DatabaseUnavailable. Also a decorator."""
    try:
        yield
    except AWAY as error:
        # The connection was there and broke: the statement may have been carried out, with nobody left to say so.
        broke = isinstance(error, BROKE)
        raise DatabaseUnavailable(outcome_unknown=broke) from error
    except OperationalError as error:
        if isinstance(error.__cause__, OUTDATED):
            raise TablesMissing from error
        raise
    except asyncpg.InternalClientError as error:
        # An idle connection was told of the server's end at the moment it was to be used.
        if ENDED_WHILE_IDLE in str(error):
            raise DatabaseUnavailable from error
        raise
    except asyncpg.InterfaceError as error:
        # The class also holds our own mistakes (a wrong number of arguments), which are not to be waited out.
        if any(lost in str(error) for lost in LOST):
            raise DatabaseUnavailable(outcome_unknown=True) from error
        raise


async def execute(query: str, values: list[Any] | None = None) -> list[dict[str, Any]]:
    """Run one statement and give its rows; Tortoise's own update reports no RETURNING."""
    rows: list[dict[str, Any]] = await connections.get(CONNECTION).execute_query_dict(query, values)
    return rows


def columns(rows: list[tuple[Any, ...]]) -> list[Any]:
    """Rows as the arrays that ``unnest`` makes rows of again: one statement for any number of them."""
    return [list(column) for column in zip(*rows, strict=True)]


@asynccontextmanager
async def transaction() -> AsyncIterator[None]:
    """All statements inside, from whichever function, are carried out together or not at all.

    Raises DatabaseUnavailable.
    """
    outside = connections.get(CONNECTION)
    async with translate_connection_errors():
        try:
            async with _begin(outside):
                yield
        finally:
            # Where the connection breaks Tortoise leaves this task within what has ended, for as long as it lives.
            if connections.get(CONNECTION) is not outside:
                connections.set(CONNECTION, outside)


@asynccontextmanager
async def _begin(outside: Any) -> AsyncIterator[None]:
    """Tortoise's transaction. Where it cannot begin, Tortoise would never give its connection back to the pool."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(in_transaction(CONNECTION))
        except BaseException:
            broken: Any = connections.get(CONNECTION)
            if broken is not outside:
                # Where asyncpg has noticed the loss first the pool has it back already.
                with suppress(asyncpg.InterfaceError):
                    broken._connection.terminate()  # noqa: SLF001 - Tortoise shows it in no other way
                await outside._pool.release(broken._connection)  # noqa: SLF001
            raise
        yield


@asynccontextmanager
async def raw_connection() -> AsyncIterator[asyncpg.Connection]:
    """The connection of asyncpg behind Tortoise's: that of the transaction around it, or any of the pool."""
    async with connections.get(CONNECTION).acquire_connection() as connection:
        yield connection


@asynccontextmanager
async def dedicated_connection(url: str, statement_seconds: float | None = 10) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside the pool, for what belongs to one session: locks and LISTEN."""
    connection = await asyncpg.connect(**address(url), timeout=5, command_timeout=statement_seconds)
    try:
        yield connection
    except BaseException:
        # Saying good-bye takes as long as the network likes.
        connection.terminate()
        raise
    else:
        await connection.close()


async def migrate(url: str, settings: Settings) -> list[str]:
    """Bring the tables up to date; gives the names of the migrations that were applied.

    Any number of processes may call this at once: they take turns, and all but the first find nothing left to do.
    """
    # Only this command needs aerich; the service starts without importing it.
    from aerich import Command

    command = Command(tortoise_config(url, pool_size=2, statement_seconds=None), app=APP, location=str(MIGRATIONS_DIR))
    async with connected(url, settings), dedicated_connection(url, statement_seconds=None) as lock:
        # Closing the session gives the lock back.
        await lock.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        await command.init()
        return await command.upgrade(run_in_transaction=True)


@cache
def migration_files() -> list[str]:
    """Names of all migrations this version of the service knows, oldest first."""
    names = (path.name for path in (MIGRATIONS_DIR / APP).glob("[0-9]*_*.py"))
    return sorted(names, key=lambda name: int(name.split("_")[0]))


@translate_connection_errors()
async def pending_migrations() -> list[str]:
    """Migrations not yet applied to the database. Raises DatabaseUnavailable while it is away."""
    (table,) = await execute("SELECT to_regclass('aerich') IS NOT NULL AS exists")
    rows = await execute("SELECT version FROM aerich WHERE app = $1", [APP]) if table["exists"] else []
    applied = {row["version"] for row in rows}
    return [name for name in migration_files() if name not in applied]
