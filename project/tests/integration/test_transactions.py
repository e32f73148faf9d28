"""Transactions whose connection breaks leave nothing behind."""

import asyncio

import asyncpg
import pytest
from tortoise.backends.asyncpg.client import TransactionWrapper

from app import db
from app.config import Settings
from app.domain import DatabaseUnavailable


@pytest.mark.parametrize("method", ["begin", "commit", "rollback"])
async def test_a_task_goes_on_after_its_transaction_broke(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async def breaks(_: object) -> None:
        raise TimeoutError

    async with asyncio.timeout(30), db.connected(database_url, settings):
        # More often than there are connections, so that one that is not given back is missed.
        for _ in range(settings.database_pool_size + 2):
            with monkeypatch.context() as broken:
                broken.setattr(TransactionWrapper, method, breaks)
                with pytest.raises((DatabaseUnavailable, asyncpg.PostgresError)):
                    async with db.transaction():
                        await db.execute("SELECT 1 / $1::int", [0 if method == "rollback" else 1])
        async with db.transaction():
            assert await db.execute("SELECT 1 AS one") == [{"one": 1}]
        assert await db.execute("SELECT 2 AS two") == [{"two": 2}]
