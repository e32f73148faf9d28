"""Transactions whose connection breaks leave nothing behind."""

import asyncio
from typing import Any

import asyncpg
import pytest
from tortoise.backends.asyncpg.client import TransactionWrapper

from app.config import Settings
from app.db.connection import connected, dedicated_connection, execute
from app.db.transactions import transaction
from app.domain import DatabaseUnavailable


class Undone(Exception):
    """The reason for a rollback."""


@pytest.mark.parametrize("method", ["begin", "commit", "rollback"])
async def test_task_continues_after_a_broken_transaction(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async def breaks(_: object) -> None:
        raise TimeoutError

    async with asyncio.timeout(30), connected(database_url, settings):
        # More often than there are connections, so that one that is not given back is missed.
        for _ in range(settings.database_pool_size + 2):
            with monkeypatch.context() as broken:
                broken.setattr(TransactionWrapper, method, breaks)
                with pytest.raises((DatabaseUnavailable, asyncpg.PostgresError)):
                    async with transaction():
                        await execute("SELECT 1 / $1::int", [0 if method == "rollback" else 1])
        async with transaction():
            assert await execute("SELECT 1 AS one") == [{"one": 1}]
        assert await execute("SELECT 2 AS two") == [{"two": 2}]


async def _transact(*, taken_back: bool) -> None:
    async with transaction():
        await execute("SELECT 1")
        if taken_back:
            raise Undone


async def _lose(connection: Any, url: str) -> None:
    """Terminate a connection on the server, and wait until the client has noticed."""
    pid = connection.get_server_pid()
    async with dedicated_connection(url) as other:
        await other.execute("SELECT pg_terminate_backend($1)", pid)
    while not connection.is_closed():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("method", ["begin", "execute_query_dict", "commit", "rollback"])
async def test_connection_lost_before_any_step_is_reported_as_unavailable(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    original = getattr(TransactionWrapper, method)

    async def lost_before(wrapper: Any, *arguments: object) -> object:
        await _lose(wrapper._connection, database_url)
        return await original(wrapper, *arguments)

    async with asyncio.timeout(30), connected(database_url, settings):
        for _ in range(settings.database_pool_size + 2):
            with monkeypatch.context() as broken:
                broken.setattr(TransactionWrapper, method, lost_before)
                with pytest.raises(DatabaseUnavailable):
                    await _transact(taken_back=method == "rollback")
        async with transaction():
            assert await execute("SELECT 1 AS one") == [{"one": 1}]
        assert await execute("SELECT 2 AS two") == [{"two": 2}]
