"""Translates driver errors into the service's own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
from tortoise.exceptions import DBConnectionError, OperationalError

from app.db.driver_internals import is_closed, is_ended_while_idle
from app.domain import DatabaseUnavailable, TablesMissing

BROKEN_CONNECTION_ERRORS: Final = (
    TimeoutError,
    ConnectionResetError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
OUTDATED_TABLE_ERRORS: Final = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)

UNREACHABLE_ERRORS: Final = (
    # Refused, reset, unreachable, unresolvable, timed out: asyncio raises plain OSError for some of them.
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    DBConnectionError,
)
"""Errors that asyncpg and Tortoise raise while the database is unreachable."""


@asynccontextmanager
async def translate_connection_errors() -> AsyncIterator[None]:
    """Raise DatabaseUnavailable for the many errors of an unreachable database. Also a decorator."""
    try:
        yield
    except UNREACHABLE_ERRORS as error:
        # The connection existed and broke: the statement may have been executed, but nobody can tell.
        raise DatabaseUnavailable(outcome_unknown=isinstance(error, BROKEN_CONNECTION_ERRORS)) from error
    except OperationalError as error:
        if isinstance(error.__cause__, OUTDATED_TABLE_ERRORS):
            raise TablesMissing from error
        raise
    except asyncpg.InternalClientError as error:
        if is_ended_while_idle(error):
            raise DatabaseUnavailable from error
        raise
    except asyncpg.InterfaceError as error:
        if is_closed(error):
            raise DatabaseUnavailable(outcome_unknown=True) from error
        raise


def describe_error(error: BaseException) -> str:
    """The message of an error or of its cause; its class if there is no message."""
    cause = error.__cause__ or error
    return str(cause) or type(cause).__name__
