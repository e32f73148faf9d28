"""The many ways in which a database is away."""

import asyncpg
import pytest

from app.db import unavailable_when_away
from app.domain import DatabaseUnavailable


@pytest.mark.parametrize(
    ("error", "maybe_done"),
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
async def test_it_is_told_from_everything_else(error: Exception, *, maybe_done: bool) -> None:
    with pytest.raises(DatabaseUnavailable) as raised:
        async with unavailable_when_away():
            raise error
    assert raised.value.maybe_done == maybe_done


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 12; another operation (12) is in progress"),
        asyncpg.InterfaceError("the server expects 2 arguments for this query, 1 was passed"),
        asyncpg.UndefinedColumnError("column does not exist"),
        KeyError("a mistake"),
    ],
)
async def test_mistakes_of_ours_are_not_waited_out(error: Exception) -> None:
    with pytest.raises(type(error)):
        async with unavailable_when_away():
            raise error
