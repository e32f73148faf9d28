"""Attempts at images that have no row yet, for clients that wait: what becomes of them, and of their rows."""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from typing import cast
from unittest.mock import patch

import httpx
import pytest

from app import crud, worker
from app.config import Settings
from app.crud import Attempt, NewPrediction
from app.domain import AttemptsExhausted, EngineDied, IdempotencyKeyInFlight, ImageInfo, ImageUnreadable, Status
from app.engine import Engine, Said
from app.models.tortoise import Prediction
from app.storage.folder import FolderStorage
from app.worker import Worker
from tests.integration.conftest import Upload, serving, uploaded_files
from tests.integration.worker.rows import SCORES, FakeEngine
from tests.pictures import jpeg

FOREVER = 3600.0


def new(attempt: Attempt | None = None, came: float | None = None) -> NewPrediction:
    came = time.monotonic() if came is None else came
    image = ImageInfo("image/jpeg", "jpg", 400, 300)
    return NewPrediction("a.jpg", f"{uuid.uuid4().hex}.jpg", image, 3, "0" * 64, "fake", "1", came, attempt)


def until(event: threading.Event) -> Callable[[], None]:
    """What a fake engine does until a test says so."""

    def wait() -> None:
        assert event.wait(30)

    return wait


def make(settings: Settings, fake: FakeEngine, threads: int = 2) -> Worker:
    return Worker(cast(Engine, fake), FolderStorage(settings.uploads), settings.retry_policy, threads)


async def test_an_attempt_brings_scores_and_the_models_version(settings: Settings) -> None:
    attempt = await make(settings, FakeEngine()).attempt("fake", jpeg(), FOREVER)
    assert attempt is not None
    assert (attempt.scores, attempt.version, attempt.error) == (SCORES, "2", None)


async def test_an_attempt_at_an_unreadable_image_brings_its_error(settings: Settings) -> None:
    attempt = await make(settings, FakeEngine()).attempt("fake", jpeg()[:2000], FOREVER)
    assert attempt is not None
    assert isinstance(attempt.error, ImageUnreadable)
    assert not attempt.scores


async def test_an_attempt_that_the_engine_dies_of_counts_and_brings_nothing(settings: Settings) -> None:
    def dies() -> None:
        raise EngineDied

    attempt = await make(settings, FakeEngine(dies)).attempt("fake", jpeg(), FOREVER)
    assert attempt is not None
    assert not attempt.scores
    assert attempt.error is None


async def test_nothing_is_known_where_it_takes_too_long(settings: Settings) -> None:
    let_go = threading.Event()
    worker = make(settings, FakeEngine(until(let_go)))
    assert await worker.attempt("fake", jpeg(), 0.01) is None
    await let_go_of(worker)
    let_go.set()


async def let_go_of(worker: Worker) -> None:
    """Sees that nothing is in hand and nothing in memory, once what was cancelled has ended."""
    async with asyncio.timeout(10):
        while worker._asked:
            await asyncio.sleep(0)
    assert worker._buffered_bytes == 0


@pytest.mark.parametrize("data", [jpeg(), jpeg()[:2000]])
async def test_nothing_stays_in_memory_of_an_attempt_that_ended(settings: Settings, data: bytes) -> None:
    worker = make(settings, FakeEngine())
    await worker.attempt("fake", data, FOREVER)
    await let_go_of(worker)


async def test_nothing_stays_of_an_attempt_that_was_broken_off(settings: Settings) -> None:
    let_go = threading.Event()
    worker = make(settings, FakeEngine(until(let_go)))
    attempt = asyncio.create_task(worker.attempt("fake", jpeg(), FOREVER))
    async with asyncio.timeout(10):
        while not worker._asked:
            await asyncio.sleep(0)
    attempt.cancel()
    await asyncio.wait([attempt])
    await let_go_of(worker)
    let_go.set()


async def test_the_only_attempt_fails_for_good_where_the_engine_dies_of_it(settings: Settings) -> None:
    def dies() -> None:
        raise EngineDied

    once = settings.model_copy(update={"max_attempts": 1})
    attempt = await make(once, FakeEngine(dies)).attempt("fake", jpeg(), FOREVER)
    assert attempt is not None
    assert isinstance(attempt.error, AttemptsExhausted)


async def test_nothing_is_attempted_beyond_the_memory_for_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeEngine()
    monkeypatch.setattr(worker, "MAX_BUFFERED_BYTES", len(jpeg()) - 1)
    assert await make(settings, fake).attempt("fake", jpeg(), FOREVER) is None
    assert fake.calls == 0


@pytest.mark.usefixtures("connected")
async def test_a_row_is_made_as_its_attempt_ended() -> None:
    came = time.monotonic() - 2
    attempted = [Attempt(came + 1, SCORES, "1"), Attempt(came + 1, error=ImageUnreadable()), Attempt(came + 1), None]
    created = await crud.create_all([new(attempt, came) for attempt in attempted])
    succeeded, failed, tried, untried = (row for row in created if isinstance(row, Prediction))
    assert (succeeded.status, succeeded.attempts, succeeded.error_code) == (Status.SUCCEEDED, 1, None)
    assert (succeeded.top_prediction, succeeded.confidence) == (SCORES[0].label, SCORES[0].confidence)
    assert [answer["label"] for answer in succeeded.all_predictions or []] == [score.label for score in SCORES]
    assert (failed.status, failed.attempts, failed.error_code) == (Status.FAILED, 1, "image_unreadable")
    assert failed.top_prediction is None
    assert not failed.all_predictions
    for row in (succeeded, failed):
        assert row.started_at is not None
        assert row.completed_at is not None
        assert (row.completed_at - row.created_at).total_seconds() == pytest.approx(2, abs=0.5)
        assert (row.started_at - row.created_at).total_seconds() == pytest.approx(1)
    for row, attempts in ((tried, 1), (untried, 0)):
        assert (row.status, row.attempts) == (Status.PENDING, attempts)
        assert row.started_at is row.completed_at is None


@pytest.mark.usefixtures("connected")
async def test_while_the_engine_is_busy_rows_wait_for_others_until_a_later_one_was_made(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MAX_DELAY_SECONDS", FOREVER)
    real, batches = crud.create_all, []

    async def create_all(new: list[NewPrediction]) -> list[Prediction | IdempotencyKeyInFlight]:
        batches.append([one.came for one in new])
        return await real(new)

    monkeypatch.setattr(crud, "create_all", create_all)
    let_go = threading.Event()
    busy = make(settings, FakeEngine(until(let_go)), threads=1)
    attempts = [asyncio.create_task(busy.attempt("fake", jpeg(), FOREVER)) for _ in range(8)]
    answered = Attempt(0, SCORES, "1")
    async with asyncio.timeout(20):
        together = [asyncio.create_task(busy.create_attempted(new(answered, came))) for came in (3, 4, 5)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert batches == []
        await busy.create_attempted(new(answered, came=6))
        await asyncio.gather(*together)
        # It came before those, so it waits for nobody.
        await busy.create_attempted(new(answered, came=2))
    assert batches == [[3, 4, 5, 6], [2]]
    let_go.set()
    await asyncio.gather(*attempts)


async def test_an_upload_that_the_engine_dies_of_is_tried_again(client: httpx.AsyncClient, upload: Upload) -> None:
    real, died = Engine.classify, False

    async def dies_once(engine: Engine, model: str, data: bytes) -> Said:
        nonlocal died
        if not died:
            died = True
            raise EngineDied
        return await real(engine, model, data)

    with patch.object(Engine, "classify", dies_once):
        answer = (await upload(jpeg(), Prefer="wait=30")).json()
    assert (answer["status"], answer["attempts"]) == ("succeeded", 2)
    assert (await client.get(f"/predictions/{answer['id']}/")).json() == answer


async def test_an_upload_that_cannot_be_stored_is_503_however_well_it_was_classified(
    client: httpx.AsyncClient, upload: Upload, settings: Settings
) -> None:
    with patch("app.storage.folder._create", side_effect=OSError(28, "No space left on device")):
        assert (await upload(jpeg(), Prefer="wait=30")).status_code == 503
    assert uploaded_files(settings) == []
    assert (await client.get("/predictions/")).json() == []


async def test_an_upload_broken_off_while_it_waits_leaves_no_image(settings: Settings) -> None:
    asked = asyncio.Event()

    async def never(_engine: Engine, _model: str, _data: bytes) -> Said:
        asked.set()
        await asyncio.Future()
        raise AssertionError

    with patch.object(Engine, "classify", never):
        async with serving(settings) as client:
            files, headers = {"file": ("a.jpg", jpeg())}, {"Prefer": "wait=30"}
            waiting = asyncio.create_task(client.post("/predictions/", files=files, headers=headers))
            async with asyncio.timeout(20):
                await asked.wait()
            waiting.cancel()
            await asyncio.wait([waiting])
            assert (await client.get("/predictions/")).json() == []
    assert uploaded_files(settings) == []
