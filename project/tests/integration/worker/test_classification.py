"""Classification by a worker: each prediction is finished once."""

import asyncio
import threading

import pytest

from app.db.crud import predictions, reviews
from app.db.crud.reviews import Selection
from app.domain import ANYBODY, EngineDied, EngineInterrupted, PredictionNotFound, Status
from app.storage import Storage
from app.worker.worker import Worker
from tests.integration.worker.rows import FakeEngine, finished, pending, running, set_columns
from tests.pictures import jpeg

pytestmark = pytest.mark.usefixtures("connected")


async def test_pending_prediction_is_classified(worker: Worker, storage: Storage) -> None:
    row = await pending(storage)
    await worker.classify(row.id)
    row = await predictions.get(row.id)
    assert row.status == Status.SUCCEEDED
    assert row.attempts == 1
    assert row.lease_expires_at is None
    assert row.top_prediction == "label_0"
    assert row.confidence == 0.5


async def test_prediction_dispatched_twice_is_classified_once(
    worker: Worker, storage: Storage, fake: FakeEngine
) -> None:
    row = await pending(storage)
    await asyncio.gather(*(worker.classify(row.id) for _ in range(5)))
    await worker.classify(row.id)
    assert fake.calls == 1
    await worker.classify(row.id + 1)


async def test_classification_is_retried_after_the_engine_died(
    worker: Worker, storage: Storage, fake: FakeEngine
) -> None:
    def died_once() -> None:
        if fake.calls == 1:
            raise EngineDied

    fake.meanwhile = died_once
    row = await pending(storage)
    async with running(worker):
        row = await finished(row)
    assert row.status == Status.SUCCEEDED
    # Another image may have been the cause: the attempt goes on alone.
    assert row.attempts == 1
    assert fake.calls == 2
    assert fake.alone == [False, True]


async def test_attempt_beside_an_overdue_image_does_not_count(
    worker: Worker, storage: Storage, fake: FakeEngine
) -> None:
    def died_often() -> None:
        if fake.calls <= 5:
            raise EngineInterrupted

    fake.meanwhile = died_often
    row = await pending(storage)
    async with running(worker):
        row = await finished(row)
    assert row.status == Status.SUCCEEDED
    assert row.attempts == 1


async def test_prediction_with_an_earlier_attempt_runs_alone(
    worker: Worker, storage: Storage, fake: FakeEngine
) -> None:
    """Otherwise an image that kills the engine would use up the attempts of others."""
    at_once: list[int] = []
    together = threading.Semaphore(0)
    now = 0

    def meanwhile() -> None:
        nonlocal now
        now += 1
        at_once.append(now)
        together.acquire(timeout=0.05)
        now -= 1

    fake.meanwhile = meanwhile
    rows = [await pending(storage) for _ in range(4)]
    for row in rows:
        await set_columns(row, attempts=1)
    async with running(worker):
        for row in rows:
            assert (await finished(row)).attempts == 2
    assert at_once == [1, 1, 1, 1]


async def test_missing_image_fails_at_once(worker: Worker, storage: Storage) -> None:
    row = await pending(storage)
    await storage.delete([row.image_path])
    await worker.classify(row.id)
    row = await predictions.get(row.id)
    assert row.status == Status.FAILED
    assert row.error_code == "image_missing"
    assert row.attempts == 1


async def test_unreadable_image_fails_at_once(worker: Worker, storage: Storage) -> None:
    row = await pending(storage, jpeg()[:2000])
    await worker.classify(row.id)
    row = await predictions.get(row.id)
    assert row.status == Status.FAILED
    assert row.error_code == "image_unreadable"
    assert row.top_prediction is None


async def test_failing_prediction_is_attempted_three_times(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    def broken() -> None:
        raise RuntimeError("the model is broken")

    fake.meanwhile = broken
    row = await pending(storage)
    async with running(worker):
        row = await finished(row)
    assert row.status == Status.FAILED
    assert row.error_code == "attempts_exhausted"
    assert row.attempts == 3
    assert fake.calls == 3


async def test_prediction_succeeds_after_a_failed_attempt(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    def broken_once() -> None:
        if fake.calls == 1:
            raise MemoryError

    fake.meanwhile = broken_once
    row = await pending(storage)
    async with running(worker):
        row = await finished(row)
    assert row.status == Status.SUCCEEDED
    assert row.attempts == 2


async def test_row_names_the_model_that_classified_it(worker: Worker, storage: Storage) -> None:
    row = await pending(storage)
    assert row.model == "fake"
    assert row.model_version == "1"
    await worker.classify(row.id)
    row = await predictions.get(row.id)
    assert row.model == "answering"
    assert row.model_version == "2"


async def test_concurrent_correction_is_kept(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    row = await pending(storage)
    loop = asyncio.get_running_loop()

    def meanwhile() -> None:
        asyncio.run_coroutine_threadsafe(reviews.review(Selection([row.id]), "my cat", ANYBODY), loop).result(10)

    fake.meanwhile = meanwhile
    await worker.classify(row.id)
    row = await predictions.get(row.id)
    assert row.status == Status.SUCCEEDED
    assert row.top_prediction == "my cat"
    assert row.confidence == 1.0
    assert row.all_predictions is not None
    assert row.all_predictions[0]["label"] == "label_0"


async def test_concurrently_deleted_row_stays_deleted(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    row = await pending(storage)
    loop = asyncio.get_running_loop()

    def meanwhile() -> None:
        asyncio.run_coroutine_threadsafe(predictions.delete_all([row.id], ANYBODY), loop).result(10)

    fake.meanwhile = meanwhile
    await worker.classify(row.id)
    with pytest.raises(PredictionNotFound):
        await predictions.get(row.id)
