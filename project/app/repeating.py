"""Doing something again and again, whatever goes wrong."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from app.domain import DatabaseUnavailable, StorageUnavailable

log = logging.getLogger(__name__)


@asynccontextmanager
async def repeating(step: Callable[[], Awaitable[object]], seconds: float, doing: str) -> AsyncIterator[None]:
    """A step is taken at once, and every ``seconds`` again, while inside; what goes wrong is logged. 0: never."""

    async def repeat() -> None:
        while seconds:
            try:
                await step()
            except (DatabaseUnavailable, StorageUnavailable) as error:
                log.warning("%s has to wait: %s", doing, error.message)
            except Exception:
                log.exception("%s went wrong", doing)
            await asyncio.sleep(seconds)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
