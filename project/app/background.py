"""Background tasks: run once, or repeatedly despite errors."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

from app.domain import DatabaseUnavailable, StorageUnavailable
from app.log_events import TASK_DELAYED, TASK_ERROR

log = logging.getLogger(__name__)


@asynccontextmanager
async def alongside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a coroutine in the background while inside; it has ended when this exits."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def repeating(step: Callable[[], Awaitable[object]], seconds: float, doing: str) -> AsyncIterator[None]:
    """Run ``step`` now and every ``seconds`` while inside; errors are logged. ``seconds`` = 0: never."""

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
