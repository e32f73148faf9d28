import asyncio

import pytest

from app.concurrency import Batcher


class Recorder:
    """Returns squares, batch by batch, when the test releases them."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.let_go = asyncio.Event()

    async def run(self, items: list[int]) -> list[int | Exception]:
        self.batches.append(items)
        await self.let_go.wait()
        return [ValueError("negative") if item < 0 else item * item for item in items]


async def turns(count: int = 5) -> None:
    """Run all tasks that are ready."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_single_call_runs_at_once_and_concurrent_calls_form_a_batch() -> None:
    recorder = Recorder()
    square = Batcher(recorder.run, max_items=3)
    first = asyncio.create_task(square(1))
    await turns()
    rest = [asyncio.create_task(square(item)) for item in (2, 3, 4, 5)]
    await turns()
    assert recorder.batches == [[1]]
    recorder.let_go.set()
    assert await asyncio.gather(first, *rest) == [1, 4, 9, 16, 25]
    assert recorder.batches == [[1], [2, 3, 4], [5]]
    assert await square(6) == 36


async def test_error_of_one_call_affects_only_that_call() -> None:
    recorder = Recorder()
    recorder.let_go.set()
    square = Batcher(recorder.run, max_items=3)
    results = await asyncio.gather(square(1), square(-1), square(2), return_exceptions=True)
    assert [results[0], results[2]] == [1, 4]
    assert isinstance(results[1], ValueError)


async def test_error_of_a_batch_affects_all_its_calls_and_no_later_ones() -> None:
    calls = 0

    async def broken_once(items: list[int]) -> list[int]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError("away")
        return items

    same = Batcher(broken_once, max_items=10)
    for result in await asyncio.gather(same(1), same(2), return_exceptions=True):
        assert isinstance(result, ConnectionError)
    assert await same(3) == 3


async def test_cancelled_call_is_left_out() -> None:
    recorder = Recorder()
    square = Batcher(recorder.run, max_items=3)
    gone, there = asyncio.create_task(square(1)), asyncio.create_task(square(2))
    await turns()
    gone.cancel()
    recorder.let_go.set()
    assert await there == 4
    with pytest.raises(asyncio.CancelledError):
        await gone


# In a loop of its own, whose clock it moves.
@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.parametrize("in_number", [False, True], ids=["in time", "in number"])
async def test_calls_may_be_delayed_to_form_larger_batches(in_number: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    recorder.let_go.set()
    square = Batcher(recorder.run, max_items=9, may_delay=lambda items: len(items) < 3, max_delay=600)
    two = [asyncio.create_task(square(item)) for item in (1, 2)]
    await turns()
    assert recorder.batches == []
    if in_number:
        await square(3)
    else:
        loop = asyncio.get_running_loop()
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + 600)
    await asyncio.gather(*two)
    assert recorder.batches == [[1, 2, 3] if in_number else [1, 2]]
