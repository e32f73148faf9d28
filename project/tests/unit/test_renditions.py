"""The cache of rendered images: what it returns, and its limits."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from app.config import Settings
from app.storage import renditions
from app.storage.renditions import Renditions

KEY = "2026/11/26/0123456789abcdef0123456789abcdef.jpg"


class Maker:
    """Makes a rendition, and counts how often."""

    def __init__(self, data: bytes = b"rendered") -> None:
        self.data = data
        self.calls = 0
        self.may_finish = asyncio.Event()
        self.may_finish.set()

    async def __call__(self) -> bytes:
        self.calls += 1
        await self.may_finish.wait()
        return self.data


def stored(settings: Settings) -> list[Path]:
    return sorted(path for path in settings.renditions.rglob("*") if path.is_file())


@pytest.fixture
def cache(settings: Settings) -> Renditions:
    return Renditions(settings)


async def test_rendition_is_made_once_for_concurrent_and_later_callers(cache: Renditions, settings: Settings) -> None:
    make = Maker()
    make.may_finish.clear()
    callers = [asyncio.create_task(cache.get(KEY, "small", make)) for _ in range(3)]
    while not make.calls:
        await asyncio.sleep(0.001)
    # The first caller breaks off; the others still get theirs.
    callers[0].cancel()
    make.may_finish.set()
    assert await asyncio.gather(*callers[1:]) == [b"rendered"] * 2
    assert await cache.get(KEY, "small", make) == b"rendered"
    # A cache that another process opens.
    assert await Renditions(settings).get(KEY, "small", make) == b"rendered"
    assert make.calls == 1
    assert await cache.get(KEY, "large", Maker(b"another")) == b"another"
    assert await cache.get(KEY.replace("a", "b"), "small", Maker(b"a third")) == b"a third"


async def test_failure_is_raised_for_all_and_not_cached(cache: Renditions) -> None:
    async def fail() -> bytes:
        raise OSError("no such image")

    results = await asyncio.gather(*(cache.get(KEY, "small", fail) for _ in range(2)), return_exceptions=True)
    assert [str(result) for result in results] == ["no such image"] * 2
    assert await cache.get(KEY, "small", Maker()) == b"rendered"


async def test_damaged_file_is_made_again(cache: Renditions, settings: Settings) -> None:
    make = Maker(b"x" * 1000)
    await cache.get(KEY, "small", make)
    (path,) = stored(settings)
    for damaged in (b"", path.read_bytes()[:500], bytes(len(path.read_bytes()))):
        path.write_bytes(damaged)
        assert await cache.get(KEY, "small", make) == make.data
    assert make.calls == 4


async def test_longest_unused_renditions_are_deleted_above_the_limit(settings: Settings) -> None:
    cache = Renditions(settings.model_copy(update={"renditions_bytes": 10_000}))
    for number in range(8):
        await cache.get(KEY, f"{number}", Maker(bytes(968)))
        # Older kernels tell times apart by milliseconds only.
        (newest,) = (path for path in stored(settings) if path.stat().st_mtime > time.time() - 500)
        os.utime(newest, (0, time.time() - 1_000 + number))
    # Using the oldest one keeps it.
    first = Maker(bytes(968))
    await cache.get(KEY, "0", first)
    assert first.calls == 0
    for number in range(8, 12):
        await cache.get(KEY, f"{number}", Maker(bytes(968)))
        assert sum(path.stat().st_size for path in stored(settings)) <= 11_000
    second = Maker()
    for kind, maker in (("0", first), ("1", second)):
        await cache.get(KEY, kind, maker)
    assert (first.calls, second.calls) == (0, 1)


async def test_rendition_that_nobody_uses_is_deleted(cache: Renditions, settings: Settings) -> None:
    for number in range(3):
        await cache.get(KEY, f"{number}", Maker())
    old, other, _ = stored(settings)
    for path, age in ((old, 1), (other, -10)):
        expired = time.time() - renditions.MAX_UNUSED_SECONDS - age
        os.utime(path, (expired, expired))
    async with asyncio.timeout(10), cache.running():
        while old.exists():
            await asyncio.sleep(0.01)
    assert len(stored(settings)) == 2


async def test_renditions_are_deleted_with_their_image(cache: Renditions, settings: Settings) -> None:
    make = Maker()
    await cache.get(KEY, "small", make)
    await cache.get(f"{KEY}.png", "small", make)
    make.may_finish.clear()
    in_progress = asyncio.create_task(cache.get(KEY, "large", make))
    while make.calls < 3:
        await asyncio.sleep(0.001)
    await cache.forget([KEY])
    make.may_finish.set()
    assert await in_progress == b"rendered"
    assert len(stored(settings)) == 1


async def test_cache_that_cannot_be_written_costs_nothing_but_time(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.renditions.parent.mkdir(parents=True, exist_ok=True)
    settings.renditions.write_text("a file where the folder belongs")
    cache, make = Renditions(settings), Maker()
    for _ in range(2):
        assert await cache.get(KEY, "small", make) == b"rendered"
    await cache.forget([KEY])
    assert make.calls == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"Rendered images cannot be cached in {settings.renditions}: Not a directory"
    ]


async def test_cache_can_be_turned_off(settings: Settings) -> None:
    cache, make = Renditions(settings.model_copy(update={"renditions_bytes": 0})), Maker()
    for _ in range(2):
        await cache.get(KEY, "small", make)
    assert make.calls == 2
    assert stored(settings) == []
