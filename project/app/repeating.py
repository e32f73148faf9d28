"""Doing something beside everything else: without end, or again and again, whatever goes wrong."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

from app.domain import DatabaseUnavailable, StorageUnavailable
from app.log_events import TASK_DELAYED, TASK_ERROR

log = logging.getLogger(__name__)


@asynccontextmanager
async def alongside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """A coroutine runs while inside, and has ended when this has."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def repeating(step: Callable[[], Awaitable[object]], seconds: float, doing: str) -> AsyncIterator[None]:
    """A step is taken at once, and every ``seconds`` again, while inside; what goes wrong is logged. 0: never."""

    async def repeat() -> None:
        while seconds:
            try:
                await step()
            except (DatabaseUnavailable, StorageUnavailable) as error:
                log.warning(TASK_DELAYED, doing, error.message)
            except Exception:
                log.exception(TASK_ERROR, doing)
            await asyncio.sleep(seconds)

    async with alongside(repeat()):
        yield
