"""Bounds the memory of uploads that are being received, however many clients send."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from app.domain import Overloaded

RETRY_AFTER_SECONDS: Final = 5


class MemoryBudget:
    """A number of bytes to reserve. Reservations that do not fit wait in order of arrival."""

    def __init__(self, total: int) -> None:
        self._free = self._total = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def reserve(self, count: int, max_wait: float | None = None) -> AsyncIterator[None]:
        """Hold ``count`` bytes while inside, or the whole budget if that is less.

        Raises Overloaded if they are not free within ``max_wait`` seconds.
        """
        count = min(count, self._total)
        try:
            async with asyncio.timeout(max_wait):
                await self._acquire(count)
        except TimeoutError:
            raise Overloaded(RETRY_AFTER_SECONDS) from None
        try:
            yield
        finally:
            self._free += count
            self._grant()

    async def _acquire(self, count: int) -> None:
        if not self._waiting and count <= self._free:
            self._free -= count
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._free += count
            self._grant()
            raise

    def _grant(self) -> None:
        while self._waiting:
            count, granted = self._waiting[0]
            if not granted.done():
                if count > self._free:
                    return
                self._free -= count
                granted.set_result(None)
            self._waiting.popleft()
