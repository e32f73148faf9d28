"""MemoryBudget for uploads that are being received: no more of them are in memory at once, however many clients send."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from app.api.body_limit import MULTIPART_OVERHEAD, in_base64
from app.api.errors import RETRY_AFTER_SECONDS
from app.api.reading import COPIES, is_json
from app.domain import Overloaded


class MemoryBudget:
    """So many bytes. Who comes when it is full waits in a line, unread, until those before have gone."""

    def __init__(self, total: int) -> None:
        self._free = self._total = total
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, count: int, longest: float | None = None) -> AsyncIterator[None]:
        """Have room for ``count`` bytes while inside, or for the whole of it where that is less.

        Raises Overloaded where there is none within ``longest`` seconds.
        """
        count = min(count, self._total)
        try:
            async with asyncio.timeout(longest):
                await self._take(count)
        except TimeoutError:
            raise Overloaded(RETRY_AFTER_SECONDS) from None
        try:
            yield
        finally:
            self._free += count
            self._authorize()

    async def _take(self, count: int) -> None:
        if not self._line and count <= self._free:
            self._free -= count
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free += count
            self._authorize()
            raise

    def _authorize(self) -> None:
        while self._line:
            count, turn = self._line[0]
            if not turn.done():
                if count > self._free:
                    return
                self._free -= count
                turn.set_result(None)
            self._line.popleft()


def size_of(request: Request, most: int) -> int:
    """Bytes of memory that a request will take: what it declares, otherwise the most that it may have."""
    declared = request.headers.get("content-length", "")
    if is_json(request):
        return COPIES * (int(declared) if declared.isdecimal() else in_base64(most) + MULTIPART_OVERHEAD)
    return int(declared) if declared.isdecimal() else most + MULTIPART_OVERHEAD
