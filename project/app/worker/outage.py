"""Waits out database outages."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from app.domain import DatabaseUnavailable

RETRY_SECONDS: Final = 0.5

Result = TypeVar("Result")


async def retry_while_database_down(statement: Callable[[], Awaitable[Result]], stopping: asyncio.Event) -> Result:
    """The result of a statement, repeated while the database is down: an outage is no fault of the prediction.

    Raises DatabaseUnavailable if ``stopping`` is set in the meantime.
    """
    while True:
        try:
            return await statement()
        except DatabaseUnavailable:
            if stopping.is_set():
                raise
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    await stopping.wait()
