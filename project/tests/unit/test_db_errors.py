"""Connection errors of asyncpg and Tortoise."""

import asyncpg
import pytest
from tortoise.exceptions import TransactionManagementError

from app.db import errors
from app.db.errors import translate_connection_errors
from app.domain import DatabaseUnavailable


@pytest.fixture(autouse=True)
def _forget_noted_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_noted", {"reason": None, "at": 0.0})


@pytest.mark.parametrize(
    ("error", "outcome_unknown"),
    [
        (ConnectionRefusedError(), False),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (asyncpg.AdminShutdownError("terminating connection due to administrator command"), True),
        (asyncpg.CannotConnectNowError("the database system is shutting down"), False),
        (asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"), False),
    ],
)
async def test_connection_errors_are_distinguished_from_other_errors(
    error: Exception, *, outcome_unknown: bool
) -> None:
    with pytest.raises(DatabaseUnavailable) as raised:
        async with translate_connection_errors():
            raise error
    assert raised.value.outcome_unknown == outcome_unknown


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (asyncpg.DiskFullError("could not extend file: No space left on device"), "disk is full: free space"),
        (asyncpg.PostgresIOError("could not write"), "cannot read or write its files"),
        (asyncpg.TooManyConnectionsError("sorry, too many clients already"), "no free connections"),
        (asyncpg.OutOfMemoryError("out of memory"), "lacks memory"),
        (asyncpg.ReadOnlySQLTransactionError("cannot execute UPDATE"), "read-only"),
        (asyncpg.InvalidPasswordError("password authentication failed"), "refuses the account"),
        (asyncpg.InvalidCatalogNameError("does not exist"), "does not exist"),
    ],
)
async def test_condition_of_the_server_is_named(error: Exception, reason: str) -> None:
    wrapped = TransactionManagementError(error)
    wrapped.__cause__ = error
    for raised_error in (error, wrapped):
        with pytest.raises(DatabaseUnavailable, match=reason):
            async with translate_connection_errors():
                raise raised_error


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 12; another operation (12) is in progress"),
        asyncpg.InterfaceError("the server expects 2 arguments for this query, 1 was passed"),
        asyncpg.UndefinedColumnError("column does not exist"),
        KeyError("a mistake"),
    ],
)
async def test_programming_errors_are_not_retried(error: Exception) -> None:
    with pytest.raises(type(error)):
        async with translate_connection_errors():
            raise error
