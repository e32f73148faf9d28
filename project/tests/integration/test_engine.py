"""The engine process: its results, its errors and its death."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from app.classifier.engine.frames import EngineConfig
from app.classifier.engine.process import Classification, Engine
from app.classifier.engine.sandbox import MAX_OPEN_FILES
from app.config import Settings
from app.domain import EngineDied, EngineInterrupted, ImageUnreadable, ModelBroken, ModelUnknown
from app.images.memory import BYTES_PER_PIXEL
from app.observability.log_format import log_config
from tests.conftest import FALLBACK
from tests.integration.conftest import AddModel, limit, processes
from tests.integration.test_registry import damage
from tests.pictures import encoded, jpeg
from tests.processes import suspend

pytestmark = pytest.mark.process

PLENTY = 2**40


def orders(models: Path, threads: int = 2, image_seconds: float = 60) -> EngineConfig:
    return EngineConfig(str(models), FALLBACK, threads, PLENTY, image_seconds, log_config(Settings()), PLENTY)


@pytest.fixture
async def engine(models_dir: Path) -> AsyncIterator[Engine]:
    engine = Engine(orders(models_dir))
    async with engine.running():
        yield engine


def process() -> psutil.Process:
    """The only engine process."""
    (child,) = processes()
    return child


async def test_engine_returns_the_scores_of_the_model(engine: Engine) -> None:
    said = await engine.classify(FALLBACK, jpeg())
    assert len(said.scores) == 5
    assert said.model == FALLBACK
    assert await engine.loaded() == [FALLBACK]
    assert await asyncio.gather(*(engine.classify(FALLBACK, jpeg()) for _ in range(20))) == [said] * 20


async def test_engine_returns_errors_unchanged(engine: Engine) -> None:
    with pytest.raises(ImageUnreadable):
        await engine.classify(FALLBACK, jpeg()[:2000])
    with pytest.raises(ModelUnknown, match="no model 'nothing'"):
        await engine.classify("nothing", jpeg())


async def test_damaged_model_is_reported(folder: Path, add_model: AddModel) -> None:
    add_model()
    damage(add_model("damaged"))
    engine = Engine(orders(folder))
    async with engine.running():
        await engine.check(FALLBACK)
        assert await engine.loaded() == []
        with pytest.raises(ModelBroken, match="LiteRT cannot load"):
            await engine.check("damaged")
    engine = Engine(orders(folder))
    async with engine.running():
        with pytest.raises(ModelBroken, match="LiteRT cannot load"):
            await engine.load(["damaged"])


async def test_active_images_fail_when_the_engine_dies_and_later_ones_succeed(engine: Engine) -> None:
    await engine.load([FALLBACK])
    first = process()
    suspend(first.pid)
    in_hand = [asyncio.create_task(engine.classify(FALLBACK, jpeg())) for _ in range(20)]
    # As many as are sent at once; the others wait for the engine to come back.
    async with asyncio.timeout(10):
        while len(engine._pending) < 4:
            await asyncio.sleep(0.01)
    first.kill()
    results = await asyncio.gather(*in_hand, return_exceptions=True)
    assert sum(isinstance(result, EngineDied) for result in results) == 4
    assert sum(not isinstance(result, BaseException) for result in results) == 16
    assert process().pid != first.pid
    assert engine.is_alive


async def test_process_that_is_stuck_is_replaced(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.classifier.engine.process.HUNG_CHECKS", 2)
    # Before it has shown that it works, it may take longer: libraries may be read from a slow disk.
    await engine.classify(FALLBACK, jpeg())
    first = process()
    suspend(first.pid)
    with pytest.raises(EngineDied):
        await engine.classify(FALLBACK, jpeg())
    assert (await engine.classify(FALLBACK, jpeg())).scores
    assert not first.is_running()
    assert "The engine has not responded for 2 s; killing it" in caplog.text


async def test_cancelled_image_occupies_its_slot_until_it_is_finished(engine: Engine) -> None:
    await engine.load([FALLBACK])
    suspend(process().pid)
    given_up = [asyncio.create_task(engine.classify(FALLBACK, jpeg())) for _ in range(4)]
    async with asyncio.timeout(10):
        while len(engine._pending) < 4:
            await asyncio.sleep(0.01)
    for task in given_up:
        task.cancel()
    await asyncio.wait(given_up)
    next_one = asyncio.create_task(engine.classify(FALLBACK, jpeg()))
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(engine._pending) == 4
    process().send_signal(signal.SIGCONT)
    async with asyncio.timeout(10):
        assert (await next_one).scores


async def test_engine_restarts_after_processes_could_not_be_started(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await engine.load([FALLBACK])
    real, refused = asyncio.create_subprocess_exec, 0

    async def refuses_twice(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        nonlocal refused
        if refused < 2:
            refused += 1
            raise OSError(12, "Cannot allocate memory")
        return await real(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuses_twice)
    monkeypatch.setattr("app.classifier.engine.process.RESTART_SECONDS", 0)
    process().kill()
    async with asyncio.timeout(10):
        while refused < 2:
            await asyncio.sleep(0.01)
        assert (await engine.classify(FALLBACK, jpeg())).scores
    assert refused == 2
    assert sum("could not be started" in record.message for record in caplog.records) == 2


async def said_or_died(engine: Engine) -> Classification | None:
    try:
        return await engine.classify(FALLBACK, jpeg())
    except EngineDied:
        return None


@pytest.mark.slow
async def test_image_above_the_time_limit_fails_and_others_succeed(models_dir: Path) -> None:
    engine = Engine(orders(models_dir, threads=1, image_seconds=0.2))
    async with engine.running():
        await engine.load([FALLBACK])
        first = process()
        # 90 million pixels, of which a decoder has to see each.
        noise = np.tile(np.asarray(Image.effect_noise((3_000, 1_000), 50)), (30, 1))
        endless = encoded(Image.fromarray(noise), "PNG", compress_level=1)
        overdue, beside = await asyncio.gather(
            *(engine.classify(FALLBACK, data) for data in (endless, jpeg())), return_exceptions=True
        )
        assert isinstance(overdue, ImageUnreadable)
        assert "exceeded the time limit of 0.2 s" in overdue.message
        assert isinstance(beside, EngineInterrupted)
        async with asyncio.timeout(10):
            while not (said := await said_or_died(engine)):
                pass
        assert said.scores
        assert process().pid != first.pid


@pytest.mark.slow
async def test_largest_images_of_all_formats_fit_into_the_memory_that_is_documented(models_dir: Path) -> None:
    side = 7_000
    one_image = max(BYTES_PER_PIXEL.values()) * side**2
    # Two at once would exceed the limit, so that decoding would fail.
    config = replace(orders(models_dir), decoding_bytes=one_image, max_memory_bytes=one_image + 300 * 2**20)
    uniform = Image.new("RGB", (side, side), "teal")
    transparent = uniform.convert("RGBA")
    deep = Image.fromarray(np.full((side, side), 40_000, np.uint16))
    largest = [
        encoded(uniform, "WEBP", lossless=True),
        encoded(transparent, "PNG", compress_level=1),
        encoded(deep, "PNG", compress_level=1),
        encoded(Image.new("F", (side, side), 0.5), "TIFF", compression="tiff_adobe_deflate"),
        encoded(uniform.convert("CMYK"), "JPEG", progressive=True),
    ]
    engine = Engine(config)
    async with engine.running():
        await engine.load([FALLBACK])
        await asyncio.gather(*(engine.classify(FALLBACK, jpeg()) for _ in range(10)))
        child = process()
        before = child.memory_info().rss
        results = await asyncio.gather(*(engine.classify(FALLBACK, data) for data in largest * 2))
        assert len({result.scores[0].label for result in results}) <= 3
        # Small renditions need many pixels for each of theirs.
        for size in (16, 300):
            rendered = await asyncio.gather(*(engine.render(data, size) for data in largest))
            assert {Image.open(BytesIO(data)).size for data in rendered} == {(size, size)}
        assert child.is_running()
        # Freed memory is given back, also by threads, perhaps after their last response.
        async with asyncio.timeout(10):
            while child.memory_info().rss - before >= 50 * 2**20:
                await asyncio.sleep(0.1)


async def test_waiting_for_memory_does_not_count_towards_the_time_limit(models_dir: Path) -> None:
    noise = np.tile(np.asarray(Image.effect_noise((3_000, 1_000), 50)), (4, 1))
    data = encoded(Image.fromarray(noise), "PNG", compress_level=1)
    engine = Engine(replace(orders(models_dir, threads=16, image_seconds=1.5), decoding_bytes=1))
    async with engine.running():
        await engine.load([FALLBACK])
        # One after the other they take several times the limit.
        results = await asyncio.gather(*(engine.classify(FALLBACK, data) for _ in range(16)))
        assert {result.scores[0].label for result in results} == {results[0].scores[0].label}
        assert max(result.seconds[0] for result in results) > 1.5


async def test_suspended_time_does_not_count_towards_the_time_limit(models_dir: Path) -> None:
    seconds = 3.0
    engine = Engine(orders(models_dir, image_seconds=seconds))
    async with engine.running():
        await engine.load([FALLBACK])
        # It takes some tenths of a second.
        asked = asyncio.create_task(engine.classify(FALLBACK, encoded(Image.effect_noise((4_000, 4_000), 50), "PNG")))
        async with asyncio.timeout(10):
            while not engine._pending:
                await asyncio.sleep(0)
        suspend(process().pid)
        await asyncio.sleep(1.5 * seconds)
        assert not asked.done()
        process().send_signal(signal.SIGCONT)
        assert (await asked).scores


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_to_the_group_do_not_stop_the_engine(engine: Engine, number: signal.Signals) -> None:
    await engine.load([FALLBACK])
    process().send_signal(number)
    assert (await engine.classify(FALLBACK, jpeg())).scores


async def test_engine_ends_with_the_service(models_dir: Path) -> None:
    engine = Engine(orders(models_dir))
    async with engine.running():
        await engine.loaded()
        child = process()
    assert not child.is_running()


async def test_engine_ends_if_the_service_is_killed(engine: Engine) -> None:
    await engine.load([FALLBACK])
    child = process()
    # What is left of a service that was killed: a closed socket.
    assert engine._connection is not None
    engine._connection.close()
    async with asyncio.timeout(10):
        while psutil.pid_exists(child.pid):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("turns", range(4))
async def test_engine_can_be_stopped_while_it_dies(models_dir: Path, turns: int) -> None:
    engine = Engine(orders(models_dir))
    async with asyncio.timeout(10), engine.running():
        await engine.load([FALLBACK])
        process().kill()
        await engine._process.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
    assert not processes()


async def test_engine_has_no_secrets_and_no_way_to_privileges(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(orders(models_dir))
    for name in ("DATABASE_URL", "WEBHOOK_SECRET", "AWS_SECRET_ACCESS_KEY", "STORAGE_URL", "ANYTHING_ELSE"):
        monkeypatch.setenv(name, "confidential")
    async with engine.running():
        assert (await engine.classify(FALLBACK, jpeg())).scores
        child = process()
        assert "confidential" not in child.environ().values()
        assert not {name for name in child.environ() if name.lower() in Settings.model_fields}
        status = Path(f"/proc/{child.pid}/status").read_text()
        assert re.search(r"^NoNewPrivs:\s*1$", status, re.MULTILINE)
        assert limit(child, "Max core file size") == 0
        assert limit(child, "Max open files") <= MAX_OPEN_FILES
