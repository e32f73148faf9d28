"""Batches concurrent calls: one statement for ten rows, one thread for ten files."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

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
        most: int,
        *,
        may_delay: Callable[[Sequence[Item]], bool] = lambda _: False,
        patience: float = 0,
    ) -> None:
        self._run = run
        self._most = most
        self._may_wait = may_delay
        self._patience = patience
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
        if not self._may_wait([item for item, _ in self._waiting]):
            self._start()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._patience, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running is None:
            self._running = asyncio.create_task(self._run_all())

    async def _run_all(self) -> None:
        try:
            while True:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._run_batch(batch)
                if not self._waiting or self._may_wait([item for item, _ in self._waiting]):
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
