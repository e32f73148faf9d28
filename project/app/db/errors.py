"""Translates driver errors into the service's own."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from tortoise.exceptions import DBConnectionError, OperationalError, TransactionManagementError

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
POOLED: Final = (
    "DATABASE_URL leads to a pooler in transaction mode, such as PgBouncer, but notifications and locks need a session "
    "of their own: name the database itself, or a pool in session mode."
)
SHARED_ERRORS: Final = (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError)
"""Errors caused by another session's statements on the same server connection."""
READ_ONLY: Final = "The database is read-only: it is a standby, or was set to be."
RECOVERY: Final = "during recovery"
"""In the message about an unlogged table of a standby, which has the code of a missing feature."""
_REASONS: Final = (
    (asyncpg.DiskFullError, "The database's disk is full: free space on it."),
    (asyncpg.PostgresSystemError, "The database cannot read or write its files: see its log."),
    (
        asyncpg.TooManyConnectionsError,
        "The database has no free connections: lower DATABASE_POOL_SIZE, or raise the limit of the server or the role.",
    ),
    (asyncpg.InsufficientResourcesError, "The database lacks memory or another resource: see its log."),
    (asyncpg.ReadOnlySQLTransactionError, READ_ONLY),
    (
        asyncpg.InsufficientPrivilegeError,
        "The account in DATABASE_URL lacks a permission: grant it, or run `./classifier migrate` as the tables' owner.",
    ),
    (asyncpg.InvalidAuthorizationSpecificationError, "The database refuses the account in DATABASE_URL."),
    (asyncpg.InvalidCatalogNameError, "The database in DATABASE_URL does not exist."),
    (asyncpg.InvalidSchemaNameError, "The search_path of the account in DATABASE_URL has no schema that exists."),
    (SHARED_ERRORS, POOLED),
)
"""Conditions of the server under which nothing can be stored, whatever the statement; the first that applies."""
RECENT_SECONDS: Final = 10.0
_noted: Final[dict[str, Any]] = {"reason": None, "at": -RECENT_SECONDS}
_WRAPPERS: Final = (OperationalError, TransactionManagementError)
"""Errors of Tortoise whose cause is one of asyncpg's."""


@asynccontextmanager
async def translate_connection_errors() -> AsyncIterator[None]:
    """Raise DatabaseUnavailable for the many errors of an unreachable database. Also a decorator."""
    try:
        yield
    except (asyncpg.PostgresError, *_WRAPPERS) as error:
        if reason := _reason(error):
            raise DatabaseUnavailable(reason) from error
        if isinstance(error, UNREACHABLE_ERRORS):
            raise DatabaseUnavailable(outcome_unknown=isinstance(error, BROKEN_CONNECTION_ERRORS)) from error
        if isinstance(error.__cause__, OUTDATED_TABLE_ERRORS):
            raise TablesMissing from error
        raise
    except UNREACHABLE_ERRORS as error:
        # The connection existed and broke: the statement may have been executed, but nobody can tell.
        raise DatabaseUnavailable(outcome_unknown=isinstance(error, BROKEN_CONNECTION_ERRORS)) from error
    except asyncpg.InternalClientError as error:
        if is_ended_while_idle(error):
            raise DatabaseUnavailable from error
        raise
    except asyncpg.InterfaceError as error:
        if is_closed(error):
            raise DatabaseUnavailable(outcome_unknown=True) from error
        raise


def recent_reason() -> str | None:
    """Why a statement could not be executed in the last seconds: of a full disk, only those that write notice it."""
    return _noted["reason"] if time.monotonic() - _noted["at"] < RECENT_SECONDS else None


def _reason(error: BaseException) -> str | None:
    cause = error.__cause__ if isinstance(error, _WRAPPERS) else error
    if isinstance(cause, asyncpg.FeatureNotSupportedError) and RECOVERY in str(cause):
        return READ_ONLY
    reason = next((reason for kind, reason in _REASONS if isinstance(cause, kind)), None)
    if isinstance(cause, asyncpg.InsufficientPrivilegeError):
        return f"{reason} ({cause})"
    if isinstance(cause, asyncpg.DiskFullError):
        _noted.update(reason=reason, at=time.monotonic())
    return reason


def describe_error(error: BaseException) -> str:
    """The message of an error's root cause, or the cause's class name if the message is empty."""
    while cause := error.__cause__:
        error = cause
    return str(error) or type(error).__name__
