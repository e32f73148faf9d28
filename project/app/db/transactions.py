"""Transactions: all statements inside are executed together, or not at all."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tortoise import connections
from tortoise.transactions import in_transaction

from app.db.connection import CONNECTION
from app.db.driver_internals import discard_connection
from app.db.errors import translate_connection_errors


@asynccontextmanager
async def transaction() -> AsyncIterator[None]:
    """Execute all statements inside, from whichever function, together or not at all.

    Raises DatabaseUnavailable.
    """
    outside = connections.get(CONNECTION)
    async with translate_connection_errors():
        try:
            async with _begin(outside):
                yield
        finally:
            # If the connection breaks, Tortoise leaves this task inside the ended transaction for as long as it lives.
            if connections.get(CONNECTION) is not outside:
                connections.set(CONNECTION, outside)


@asynccontextmanager
async def _begin(outside: Any) -> AsyncIterator[None]:
    """Tortoise's transaction; returns its connection to the pool if it cannot begin."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(in_transaction(CONNECTION))
        except BaseException:
            current: Any = connections.get(CONNECTION)
            if current is not outside:
                await discard_connection(outside, current)
            raise
        yield
