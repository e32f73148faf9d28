"""Uploads above MAX_PENDING are rejected with Retry-After."""

import asyncio

import pytest

from app.config import Settings
from app.db.connection import execute
from app.domain import Overloaded
from app.uploads.backlog import Backlog
from tests.integration.conftest import serving, uploaded_files
from tests.integration.rows import ROW
from tests.uploading import upload


@pytest.mark.usefixtures("connected")
async def test_rate_is_that_of_finished_predictions() -> None:
    clock = 1000.0
    backlog = Backlog(100, clock=lambda: clock)
    assert backlog.rate == 0
    await execute(ROW, ["pending", 100])
    await backlog._measure()
    with pytest.raises(Overloaded) as refused, backlog.reserve():
        pass
    # There was nothing to be done until now, so there is no telling how fast it will be.
    assert refused.value.retry_after == 5
    await execute("UPDATE predictions SET status = 'succeeded' WHERE id IN (SELECT id FROM predictions LIMIT 50)")
    await execute(ROW, ["pending", 70])
    clock += 5
    await backlog._measure()
    assert backlog.unfinished == 120
    assert backlog.rate == 10
    waits = []
    for _ in range(30):
        with pytest.raises(Overloaded) as refused, backlog.reserve():
            pass
        waits.append(refused.value.retry_after)
    # Twenty too many and one place more: at ten a second two seconds and a bit, and later for who comes later.
    assert waits[0] == 3
    assert waits[-1] == 5
    assert waits == sorted(waits)


@pytest.mark.usefixtures("connected")
async def test_idle_time_does_not_lower_the_rate_but_a_standstill_does() -> None:
    clock = 1000.0
    backlog = Backlog(1, clock=lambda: clock)
    for _ in range(8):
        await backlog._measure()
        clock += 1
    await execute(ROW, ["pending", 30])
    await backlog._measure()
    clock += 1
    await execute("UPDATE predictions SET status = 'succeeded' WHERE id <= 20")
    await backlog._measure()
    assert backlog.rate == 20
    for _ in range(12):
        clock += 1
        await backlog._measure()
    with pytest.raises(Overloaded) as refused, backlog.reserve():
        pass
    assert refused.value.retry_after == 300


@pytest.mark.usefixtures("connected")
async def test_uploads_since_the_last_sample_count() -> None:
    backlog = Backlog(3)
    await backlog._measure()
    backlog.count_accepted()
    backlog.count_accepted()
    with backlog.reserve():
        assert backlog.unfinished == 3
        with pytest.raises(Overloaded), backlog.reserve():
            pass
    assert backlog.unfinished == 2
    await backlog._measure()
    assert backlog.unfinished == 0


async def test_upload_above_the_limit_is_503_with_retry_after(settings: Settings) -> None:
    async with serving(settings.model_copy(update={"max_pending": 3, "recover_seconds": 3600})) as client:
        # Of another process, which is slow.
        await execute(ROW, ["processing", 3])
        async with asyncio.timeout(10):
            while (answer := await upload(client)).status_code == 201:
                await asyncio.sleep(0.05)
        assert answer.status_code == 503
        assert answer.json()["code"] == "overloaded"
        assert 1 <= int(answer.headers["Retry-After"]) <= 300
        stored = len(uploaded_files(settings))
        assert (await upload(client)).status_code == 503
        assert len(uploaded_files(settings)) == stored
        await execute("UPDATE predictions SET status = 'succeeded' WHERE filename = 'a.jpg'")
        async with asyncio.timeout(10):
            while (await upload(client)).status_code != 201:
                await asyncio.sleep(0.05)
