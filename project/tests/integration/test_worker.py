"""The worker on a real database and real files. The model is a fake here: it is not what is tested."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import pytest

from app import attempts, crud, db
from app.attempts import Answer
from app.config import Settings
from app.domain import Claim, EngineDied, ImageInfo, LabelScore, PredictionNotFound, RetryPolicy, Status
from app.engine import Engine, Said
from app.imaging import to_tensor
from app.models.tortoise import Prediction
from app.storage import Storage
from app.storage.folder import FolderStorage
from app.worker import Worker
from tests.pictures import jpeg

pytestmark = pytest.mark.usefixtures("connected")
SCORES = [LabelScore(f"label_{n}", 0.5 / 2**n) for n in range(5)]


class FakeEngine:
    """Answers with fixed scores, from a thread, after what a test wants to happen in the meantime."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.meanwhile = meanwhile
        self.calls = 0

    async def classify(self, _model: str, data: bytes) -> Said:
        return await asyncio.to_thread(self._classify, data)

    def _classify(self, data: bytes) -> Said:
        to_tensor(data)
        self.calls += 1
        self.meanwhile()
        return Said(SCORES, "answering", "2")


@pytest.fixture
def fake() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return FolderStorage(settings.uploads)


@pytest.fixture
def worker(settings: Settings, fake: FakeEngine, storage: Storage) -> Worker:
    return Worker(cast(Engine, fake), storage, settings.retry_policy, threads=2)


async def pending(storage: Storage, data: bytes | None = None) -> Prediction:
    """A pending row with its image."""
    data = jpeg() if data is None else data
    return await crud.create(
        crud.NewPrediction(
            filename="a.jpg",
            image_path=await storage.put(data, "jpg"),
            image=ImageInfo("image/jpeg", "jpg", 400, 300),
            size_bytes=len(data),
            sha256="0" * 64,
            model="fake",
            model_version="1",
            came=time.monotonic(),
        )
    )


async def set_columns(prediction: Prediction, **columns: Any) -> None:
    """Bring a row into a state that only a crash leaves behind."""
    await Prediction.filter(id=prediction.id).update(**columns)


@asynccontextmanager
async def running(worker: Worker, *, only_process: bool = False) -> AsyncIterator[None]:
    async with worker.running(0.05, only_process=only_process):
        yield


async def finished(prediction: Prediction) -> Prediction:
    """The row, once nothing more happens to it."""
    async with asyncio.timeout(10):
        while True:
            row = await crud.get(prediction.id)
            if row.status in {Status.SUCCEEDED, Status.FAILED}:
                return row
            await asyncio.sleep(0.01)


async def test_a_pending_prediction_is_classified(worker: Worker, storage: Storage) -> None:
    row = await pending(storage)
    await worker.classify(row.id)
    row = await crud.get(row.id)
    assert (row.status, row.attempts, row.lease_expires_at) == (Status.SUCCEEDED, 1, None)
    assert (row.top_prediction, row.confidence) == ("label_0", 0.5)


async def test_asked_twice_it_is_done_once(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    row = await pending(storage)
    await asyncio.gather(*(worker.classify(row.id) for _ in range(5)))
    await worker.classify(row.id)
    assert fake.calls == 1
    await worker.classify(row.id + 1)


async def test_an_engine_that_died_is_asked_again(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    def died_once() -> None:
        if fake.calls == 1:
            raise EngineDied

    fake.meanwhile = died_once
    row = await pending(storage)
    async with running(worker):
        row = await finished(row)
    assert (row.status, row.attempts) == (Status.SUCCEEDED, 2)


async def test_what_was_tried_before_is_tried_alone(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    """Otherwise an image that kills the engine would take others with it, until they had no attempts left either."""
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


async def test_a_missing_image_fails_at_once(worker: Worker, storage: Storage) -> None:
    row = await pending(storage)
    await storage.delete([row.image_path])
    await worker.classify(row.id)
    row = await crud.get(row.id)
    assert (row.status, row.error_code, row.attempts) == (Status.FAILED, "image_missing", 1)


async def test_an_unreadable_image_fails_at_once(worker: Worker, storage: Storage) -> None:
    row = await pending(storage, jpeg()[:2000])
    await worker.classify(row.id)
    row = await crud.get(row.id)
    assert (row.status, row.error_code, row.top_prediction) == (Status.FAILED, "image_unreadable", None)


async def test_what_goes_wrong_is_tried_three_times(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    def broken() -> None:
        raise RuntimeError("the model is broken")

    fake.meanwhile = broken
    row = await pending(storage)
    async with running(worker):
        row = await finished(row)
    assert (row.status, row.error_code, row.attempts, fake.calls) == (Status.FAILED, "attempts_exhausted", 3, 3)


async def test_what_goes_wrong_once_succeeds_later(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    def broken_once() -> None:
        if fake.calls == 1:
            raise MemoryError

    fake.meanwhile = broken_once
    row = await pending(storage)
    async with running(worker):
        row = await finished(row)
    assert (row.status, row.attempts) == (Status.SUCCEEDED, 2)


async def test_rows_of_a_dead_process_are_classified(worker: Worker, storage: Storage) -> None:
    was_pending, was_processing = await pending(storage), await pending(storage)
    await set_columns(was_processing, status=Status.PROCESSING, attempts=1, lease_expires_at=await now_plus(0))
    async with running(worker):
        assert (await finished(was_pending)).attempts == 1
        assert (await finished(was_processing)).attempts == 2


async def test_a_live_lease_is_respected_unless_this_is_the_only_process(worker: Worker, storage: Storage) -> None:
    row, marker = await pending(storage), await pending(storage)
    await set_columns(row, status=Status.PROCESSING, attempts=1, lease_expires_at=await now_plus(60))
    async with running(worker):
        await finished(marker)
        assert (await crud.get(row.id)).status == Status.PROCESSING
    other = Worker(worker._engine, storage, worker._policy, threads=1)
    async with running(other, only_process=True):
        assert (await finished(row)).status == Status.SUCCEEDED


async def test_after_three_deaths_a_row_fails(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    row = await pending(storage)
    await set_columns(row, status=Status.PROCESSING, attempts=3, lease_expires_at=await now_plus(0))
    async with running(worker):
        row = await finished(row)
    assert (row.status, row.error_code, fake.calls) == (Status.FAILED, "attempts_exhausted", 0)
    assert row.error_message == "The prediction was tried 3 times and never finished."
    assert row.completed_at is not None


async def test_many_lost_rows_are_found_by_pages(
    worker: Worker, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.worker.MOST_RECOVERED", 3)
    rows = [await pending(storage) for _ in range(10)]
    async with running(worker):
        for row in rows:
            assert (await finished(row)).status == Status.SUCCEEDED


async def test_of_two_workers_that_hold_a_row_the_later_writes(storage: Storage, settings: Settings) -> None:
    row = await pending(storage)
    policy = settings.retry_policy
    (first,) = await attempts.claim_all([row.id], policy.lease, attempts_below=policy.max_attempts)
    assert first is not None
    assert await attempts.claim_all([row.id], policy.lease, attempts_below=policy.max_attempts) == [None]
    await set_columns(row, lease_expires_at=await now_plus(0))
    await attempts.recover(policy, [], all_processing=False)
    (second,) = await attempts.claim_all([row.id], policy.lease, attempts_below=policy.max_attempts)
    assert second is not None
    assert second == Claim(row.id, 2, second.started_at, row.image_path, "fake")
    late, good = Answer(first, SCORES, "fake", "2"), Answer(second, SCORES, "fake", "2")
    assert await attempts.succeed_all([late]) == [None]
    assert not await attempts.release(first, count_attempt=True)
    (written,) = await attempts.succeed_all([good])
    assert written is not None
    assert (written.id, written.status, written.model_version) == (row.id, Status.SUCCEEDED, "2")
    assert await attempts.succeed_all([good]) == [None]


async def test_a_slow_worker_does_not_rob_itself(settings: Settings, storage: Storage, fake: FakeEngine) -> None:
    """Longer than the lease, and looked for meanwhile: still one attempt."""
    policy = RetryPolicy(settings.max_attempts, timedelta(milliseconds=1))
    worker = Worker(cast(Engine, fake), storage, policy, threads=1)
    marker = await pending(storage)
    slow = await pending(storage)
    await set_columns(marker, status=Status.PROCESSING, attempts=3, lease_expires_at=await now_plus(60))
    loop = asyncio.get_running_loop()

    async def until_looked_for() -> None:
        # When the marker's lease has run out and it was found, so was everything else that looked lost.
        await set_columns(marker, lease_expires_at=await now_plus(0))
        await finished(marker)

    fake.meanwhile = lambda: asyncio.run_coroutine_threadsafe(until_looked_for(), loop).result(10)
    async with running(worker):
        slow = await finished(slow)
    assert (slow.status, slow.attempts, fake.calls) == (Status.SUCCEEDED, 1, 1)


async def test_a_row_names_the_model_that_answered(worker: Worker, storage: Storage) -> None:
    row = await pending(storage)
    assert (row.model, row.model_version) == ("fake", "1")
    await worker.classify(row.id)
    row = await crud.get(row.id)
    assert (row.model, row.model_version) == ("answering", "2")


async def test_a_correction_made_meanwhile_stands(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    row = await pending(storage)
    loop = asyncio.get_running_loop()

    def meanwhile() -> None:
        asyncio.run_coroutine_threadsafe(crud.correct(row.id, "my cat", 1.0), loop).result(10)

    fake.meanwhile = meanwhile
    await worker.classify(row.id)
    row = await crud.get(row.id)
    assert (row.status, row.top_prediction, row.confidence) == (Status.SUCCEEDED, "my cat", 1.0)
    assert row.all_predictions is not None
    assert row.all_predictions[0]["label"] == "label_0"


async def test_a_row_deleted_meanwhile_stays_deleted(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    row = await pending(storage)
    loop = asyncio.get_running_loop()

    def meanwhile() -> None:
        asyncio.run_coroutine_threadsafe(crud.delete(row.id), loop).result(10)

    fake.meanwhile = meanwhile
    await worker.classify(row.id)
    with pytest.raises(PredictionNotFound):
        await crud.get(row.id)


def alive(worker: Worker) -> bool:
    """Asked through a function: mypy believes that a property stays what it was."""
    return worker.is_alive


async def test_a_stop_hands_back_what_is_not_finished(worker: Worker, storage: Storage, fake: FakeEngine) -> None:
    started, let_go = threading.Event(), threading.Event()

    def meanwhile() -> None:
        started.set()
        assert let_go.wait(10)

    fake.meanwhile = meanwhile
    rows = [await pending(storage) for _ in range(8)]
    async with running(worker):
        tasks = [asyncio.create_task(worker.classify(row.id)) for row in rows]
        await asyncio.to_thread(started.wait, 10)
        assert alive(worker)
        # Their threads end while the pool is shut down.
        asyncio.get_running_loop().call_later(0.2, let_go.set)
    await asyncio.gather(*tasks)
    assert not alive(worker)
    for row in rows:
        left = await crud.get(row.id)
        assert (left.status, left.attempts) == (Status.PENDING, 0)


async def test_the_worker_outlives_an_absence_of_the_database(
    worker: Worker, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = db.execute
    away = 3

    async def flaky(query: str, values: list[Any] | None = None) -> list[dict[str, Any]]:
        nonlocal away
        # What the test itself asks goes through.
        if away and not query.startswith("SELECT *"):
            away -= 1
            raise ConnectionRefusedError
        return await real(query, values)

    row = await pending(storage)
    monkeypatch.setattr(attempts, "execute", flaky)
    async with running(worker):
        assert (await finished(row)).status == Status.SUCCEEDED
        assert worker.is_alive


async def now_plus(seconds: float) -> Any:
    rows = await db.execute("SELECT now() + $1 * interval '1 second' AS time", [seconds])
    return rows[0]["time"]
