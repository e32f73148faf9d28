"""The memory budget for uploads: bounded, in order of arrival, and complete after release."""

import asyncio
from contextlib import suppress

import pytest

from app.uploads.memory_budget import MemoryBudget


class Sender:
    """Reserves memory when there is some, and keeps it until the event."""

    def __init__(self, room: MemoryBudget, count: int) -> None:
        self.inside = asyncio.Event()
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._run(room, count))

    async def _run(self, room: MemoryBudget, count: int) -> None:
        async with room.reserve(count):
            self.inside.set()
            await self.leave.wait()

    async def end(self) -> None:
        self.leave.set()
        with suppress(asyncio.CancelledError):
            await self.task


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_upload_waits_until_memory_is_free() -> None:
    room = MemoryBudget(10)
    first, second, third = Sender(room, 6), Sender(room, 5), Sender(room, 1)
    await settle()
    # The third would fit, but it came after the second.
    assert [one.inside.is_set() for one in (first, second, third)] == [True, False, False]
    await first.end()
    await settle()
    assert [one.inside.is_set() for one in (second, third)] == [True, True]
    await second.end()
    await third.end()
    async with asyncio.timeout(1), room.reserve(10):
        pass


async def test_upload_larger_than_the_budget_gets_all_of_it() -> None:
    room = MemoryBudget(10)
    async with room.reserve(1000):
        late = Sender(room, 1)
        await settle()
        assert not late.inside.is_set()
    await settle()
    assert late.inside.is_set()
    await late.end()


@pytest.mark.parametrize("let_in_first", [False, True])
async def test_cancelled_upload_does_not_block_the_queue(let_in_first: bool) -> None:
    room = MemoryBudget(10)
    first = Sender(room, 10)
    await settle()
    leaving, last = Sender(room, 10), Sender(room, 10)
    await settle()
    if let_in_first:
        first.leave.set()
        while not first.task.done():
            await asyncio.sleep(0)
    leaving.task.cancel()
    await first.end()
    await settle()
    await leaving.end()
    await settle()
    assert last.inside.is_set()
    await last.end()
