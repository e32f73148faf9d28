"""Waiting for what happens by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

POLL_SECONDS: Final = 0.05
Result = TypeVar("Result")


async def until(
    step: Callable[[], Awaitable[Result]], is_reached: Callable[[Result], bool], seconds: float = 30
) -> Result:
    """The first result of ``step`` for which ``is_reached``. Raises TimeoutError after some seconds."""
    async with asyncio.timeout(seconds):
        while not is_reached(result := await step()):
            await asyncio.sleep(POLL_SECONDS)
    return result
