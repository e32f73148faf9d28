"""Recovery of lost rows, expired leases, and shutdown of a worker."""

import asyncio
import threading
from datetime import timedelta
from typing import Any, cast

import pytest

from app.classifier.engine.process import Engine
from app.config import Settings
from app.db.connection import execute
from app.db.crud import claims, predictions
from app.db.crud.claims import ClassificationResult
from app.domain import Claim, RetryPolicy, Status
from app.storage import Storage
from app.worker.custom_models import CustomModels
from app.worker.model_settings import ModelSettings
from app.worker.recovery import Recovery
from app.worker.worker import Worker
from tests.integration.worker.rows import SCORES, FakeEngine, finished, now_plus, pending, running, set_columns

pytestmark = pytest.mark.usefixtures("connected")


async def test_rows_of_a_dead_process_are_recovered(worker: Worker, storage: Storage) -> None:
    was_pending, was_processing = await pending(storage), await pending(storage)
    await set_columns(was_processing, status=Status.PROCESSING, attempts=1, lease_expires_at=await now_plus(0))
    async with running(worker):
        assert (await finished(was_pending)).attempts == 1
        recovered = await finished(was_processing)
        assert recovered.attempts == 1
        assert recovered.interruptions == 1


async def test_live_lease_is_respected_unless_this_is_the_only_process(
    worker: Worker, storage: Storage, fake: FakeEngine
) -> None:
    row, marker = await pending(storage), await pending(storage)
    await set_columns(row, status=Status.PROCESSING, attempts=1, lease_expires_at=await now_plus(60))
    async with running(worker):
        await finished(marker)
        assert (await predictions.get(row.id)).status == Status.PROCESSING
    other = Worker(cast(Engine, fake), storage, worker._policy, 1, CustomModels(), ModelSettings())
    async with running(other, only_process=True):
        assert (await finished(row)).status == Status.SUCCEEDED


async def test_row_fails_after_many_deaths(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    """Of processes, which are rarely an image's doing."""
    row = await pending(storage)
    await set_columns(row, status=Status.PROCESSING, attempts=1, interruptions=10, lease_expires_at=await now_plus(0))
    async with running(worker):
        row = await finished(row)
    assert row.status == Status.FAILED
    assert row.error_code == "attempts_exhausted"
    assert fake.calls == 0
    assert row.error_message == "The prediction failed after 3 attempts, or 10 interruptions."
    assert row.completed_at is not None


async def test_many_lost_rows_are_recovered_in_pages(
    worker: Worker, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.worker.recovery.MAX_RECOVERED", 3)
    rows = [await pending(storage) for _ in range(10)]
    async with running(worker):
        for row in rows:
            assert (await finished(row)).status == Status.SUCCEEDED


async def test_only_the_later_of_two_claims_writes(storage: Storage, settings: Settings) -> None:
    row = await pending(storage)
    policy = settings.retry_policy
    (first,) = await claims.claim_all([row.id], policy.lease, attempts_below=policy.max_attempts, max_interruptions=10)
    assert first is not None
    assert await claims.claim_all([row.id], policy.lease, attempts_below=policy.max_attempts, max_interruptions=10) == [
        None
    ]
    await set_columns(row, lease_expires_at=await now_plus(0))
    await claims.recover(policy, [], all_processing=False)
    (second,) = await claims.claim_all([row.id], policy.lease, attempts_below=policy.max_attempts, max_interruptions=10)
    assert second is not None
    assert second == Claim(row.id, 1, second.started_at, row.image_path, "fake")
    late, good = ClassificationResult(first, SCORES, "fake", "2"), ClassificationResult(second, SCORES, "fake", "2")
    assert await claims.succeed_all([late]) == [None]
    assert not await claims.release(first, count_attempt=True)
    (written,) = await claims.succeed_all([good])
    assert written is not None
    assert written.id == row.id
    assert written.status == Status.SUCCEEDED
    assert written.model_version == "2"
    assert await claims.succeed_all([good]) == [None]


async def test_slow_worker_does_not_take_over_its_own_row(
    settings: Settings, storage: Storage, fake: FakeEngine
) -> None:
    """Classification takes longer than the lease, during a search for lost rows: still one attempt."""
    policy = RetryPolicy(settings.max_attempts, timedelta(milliseconds=1))
    worker = Worker(cast(Engine, fake), storage, policy, 1, CustomModels(), ModelSettings())
    marker = await pending(storage)
    slow = await pending(storage)
    await set_columns(
        marker, status=Status.PROCESSING, attempts=1, interruptions=10, lease_expires_at=await now_plus(60)
    )
    loop = asyncio.get_running_loop()

    async def until_looked_for() -> None:
        # When the marker's lease has run out and it was found, so was everything else that looked lost.
        await set_columns(marker, lease_expires_at=await now_plus(0))
        await finished(marker)

    fake.meanwhile = lambda: asyncio.run_coroutine_threadsafe(until_looked_for(), loop).result(10)
    async with running(worker):
        slow = await finished(slow)
    assert slow.status == Status.SUCCEEDED
    assert slow.attempts == 1
    assert fake.calls == 1


def alive(recovery: Recovery) -> bool:
    """A function, because mypy assumes that a property keeps its value."""
    return recovery.is_alive


async def test_shutdown_releases_unfinished_rows(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    started, let_go = threading.Event(), threading.Event()

    def meanwhile() -> None:
        started.set()
        assert let_go.wait(10)

    fake.meanwhile = meanwhile
    rows = [await pending(storage) for _ in range(8)]
    async with running(worker) as recovery:
        tasks = [asyncio.create_task(worker.classify(row.id)) for row in rows]
        await asyncio.to_thread(started.wait, 10)
        assert alive(recovery)
        # Their threads end while the pool is shut down.
        asyncio.get_running_loop().call_later(0.2, let_go.set)
    await asyncio.gather(*tasks)
    assert not alive(recovery)
    for row in rows:
        left = await predictions.get(row.id)
        assert left.status == Status.PENDING
        assert left.attempts == 0


async def test_worker_survives_an_unavailable_database(
    worker: Worker, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = execute
    away = 3

    async def flaky(query: str, values: list[Any] | None = None) -> list[dict[str, Any]]:
        nonlocal away
        # What the test itself asks goes through.
        if away and not query.startswith("SELECT *"):
            away -= 1
            raise ConnectionRefusedError
        return await real(query, values)

    row = await pending(storage)
    monkeypatch.setattr(claims, "execute", flaky)
    async with running(worker) as recovery:
        assert (await finished(row)).status == Status.SUCCEEDED
        assert recovery.is_alive
