"""Batched calls, and background tasks that run once or repeatedly despite errors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from app.observability.task_errors import log_errors

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Batches concurrent calls.

    Items that arrive while a call to ``run`` is in progress are passed to the next call together. An item that arrives
    alone is passed on immediately, unless ``may_delay`` (called with the waiting items) allows a delay of up to
    ``max_delay`` seconds.

    ``run`` returns one result per item, in order; a result that is an exception is raised for its item only.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[Sequence[Result | Exception]]],
        max_items: int,
        *,
        may_delay: Callable[[Sequence[Item]], bool] = lambda _: False,
        max_delay: float = 0,
    ) -> None:
        self._run = run
        self._max_items = max_items
        self._may_delay = may_delay
        self._max_delay = max_delay
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._running: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, item: Item) -> Result:
        """The result for one item. Raises what ``run`` raises or returns for it."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None:
            self._start_or_wait()
        return await future

    def _start_or_wait(self) -> None:
        if not self._may_delay([item for item, _ in self._waiting]):
            self._start()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._max_delay, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running is None:
            self._running = asyncio.create_task(self._run_all())

    async def _run_all(self) -> None:
        try:
            while True:
                batch, self._waiting = self._waiting[: self._max_items], self._waiting[self._max_items :]
                await self._run_batch(batch)
                if not self._waiting or self._may_delay([item for item, _ in self._waiting]):
                    break
        finally:
            self._running = None
        if self._waiting:
            self._start_or_wait()

    async def _run_batch(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        results: Sequence[Result | Exception]
        try:
            results = await self._run([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - every waiting caller gets it
            results = [error] * len(batch)
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), result in zip(batch, results, strict=True):
            # The caller may have been cancelled in the meantime.
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


@asynccontextmanager
async def in_background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a coroutine in the background while inside; it has ended when this exits."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def repeating(step: Callable[[], Awaitable[object]], seconds: float, task: str) -> AsyncIterator[None]:
    """Run ``step`` now and every ``seconds`` while inside; errors are logged. ``seconds`` = 0: never."""

    async def repeat() -> None:
        while seconds:
            with log_errors(task):
                await step()
            await asyncio.sleep(seconds)

    async with in_background(repeat()):
        yield
