"""Inline classification, before an image has its row: its results, its errors, and the rows made from them."""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, cast
from unittest.mock import patch

import httpx
import pytest

from app.classifier.engine.process import Classification, Engine
from app.config import Settings
from app.db.crud import new_predictions
from app.db.crud.new_predictions import InlineResult, NewPrediction
from app.domain import EngineDied, IdempotencyKeyInFlight, ImageInfo, ImageUnreadable, Status
from app.models.tortoise import Prediction
from app.worker import image_buffer, inline
from app.worker.custom_models import CustomModels
from app.worker.engine_requests import EngineRequests
from app.worker.image_buffer import ImageBuffer
from app.worker.inline import InlineClassifier
from app.worker.model_settings import ModelSettings
from tests.integration.conftest import Upload, serving, uploaded_files
from tests.integration.worker.rows import SCORES, FakeEngine
from tests.pictures import jpeg

FOREVER = 3600.0


def new(result: InlineResult | None = None, received_at: float | None = None) -> NewPrediction:
    received_at = time.monotonic() if received_at is None else received_at
    image = ImageInfo("image/jpeg", "jpg", 400, 300)
    return NewPrediction("a.jpg", f"{uuid.uuid4().hex}.jpg", image, 3, "0" * 64, "fake", "1", received_at, result)


def until(event: threading.Event) -> Callable[[], None]:
    """Blocks a fake engine until the test sets the event."""

    def wait() -> None:
        assert event.wait(30)

    return wait


class Inline:
    """An inline classifier with its parts."""

    def __init__(self, settings: Settings, fake: FakeEngine, threads: int = 2) -> None:
        self.requests = EngineRequests(cast(Engine, fake), threads, CustomModels(), ModelSettings(), embed=False)
        self.buffer = ImageBuffer()
        self.classifier = InlineClassifier(self.requests, self.buffer, settings.retry_policy)

    async def classify(self, data: bytes, seconds: float = FOREVER) -> InlineResult | None:
        return await self.classifier.classify("fake", data, seconds)

    async def until_requested(self) -> None:
        async with asyncio.timeout(10):
            while not self.requests._pending:
                await asyncio.sleep(0)

    async def assert_nothing_is_left(self) -> None:
        """No request is pending and no memory is reserved, once cancelled requests have ended."""
        async with asyncio.timeout(10):
            while self.requests._pending:
                await asyncio.sleep(0)
        assert self.buffer._bytes == 0


def dies() -> None:
    raise EngineDied


async def test_classification_returns_scores_and_model_version(settings: Settings) -> None:
    result = await Inline(settings, FakeEngine()).classify(jpeg())
    assert result is not None
    assert result.scores == SCORES
    assert result.version == "2"
    assert result.error is None


async def test_unreadable_image_returns_its_error(settings: Settings) -> None:
    result = await Inline(settings, FakeEngine()).classify(jpeg()[:2000])
    assert result is not None
    assert isinstance(result.error, ImageUnreadable)
    assert not result.scores


async def test_death_of_the_engine_returns_nothing(settings: Settings) -> None:
    """Another image may have been the cause."""
    assert await Inline(settings, FakeEngine(dies)).classify(jpeg()) is None


async def test_nothing_is_returned_after_the_time_limit(settings: Settings) -> None:
    go_on = threading.Event()
    inline = Inline(settings, FakeEngine(until(go_on)))
    assert await inline.classify(jpeg(), 0.01) is None
    await inline.assert_nothing_is_left()
    go_on.set()


@pytest.mark.parametrize("data", [jpeg(), jpeg()[:2000]], ids=["readable", "unreadable"])
async def test_memory_is_free_after_classification(settings: Settings, data: bytes) -> None:
    inline = Inline(settings, FakeEngine())
    await inline.classify(data)
    await inline.assert_nothing_is_left()


async def test_memory_is_free_after_cancellation(settings: Settings) -> None:
    go_on = threading.Event()
    inline = Inline(settings, FakeEngine(until(go_on)))
    classification = asyncio.create_task(inline.classify(jpeg()))
    await inline.until_requested()
    classification.cancel()
    await asyncio.wait([classification])
    await inline.assert_nothing_is_left()
    go_on.set()


async def test_nothing_is_classified_inline_without_memory_for_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeEngine()
    monkeypatch.setattr(image_buffer, "MAX_BUFFERED_BYTES", len(jpeg()) - 1)
    assert await Inline(settings, fake).classify(jpeg()) is None
    assert fake.calls == 0


@pytest.mark.usefixtures("connected")
async def test_row_has_the_outcome_of_its_inline_result() -> None:
    received_at = time.monotonic() - 2
    started_at = received_at + 1
    results = [
        InlineResult(started_at, SCORES, "1"),
        InlineResult(started_at, error=ImageUnreadable()),
        InlineResult(started_at),
        None,
    ]
    created = await new_predictions.create_all([new(result, received_at) for result in results])
    succeeded, failed, attempted, not_attempted = (row for row in created if isinstance(row, Prediction))
    assert succeeded.status == Status.SUCCEEDED
    assert succeeded.attempts == 1
    assert succeeded.error_code is None
    assert succeeded.top_prediction == SCORES[0].label
    assert succeeded.confidence == SCORES[0].confidence
    assert [entry["label"] for entry in succeeded.all_predictions or []] == [score.label for score in SCORES]
    assert failed.status == Status.FAILED
    assert failed.attempts == 1
    assert failed.error_code == "image_unreadable"
    assert failed.top_prediction is None
    assert not failed.all_predictions
    for row in (succeeded, failed):
        assert row.started_at is not None
        assert row.completed_at is not None
        assert (row.completed_at - row.created_at).total_seconds() == pytest.approx(2, abs=0.5)
        assert (row.started_at - row.created_at).total_seconds() == pytest.approx(1)
    for row, attempts in ((attempted, 1), (not_attempted, 0)):
        assert row.status == Status.PENDING
        assert row.attempts == attempts
        assert row.started_at is None
        assert row.completed_at is None


@pytest.mark.usefixtures("connected")
async def test_row_of_a_cached_result_counts_no_attempt() -> None:
    cached = InlineResult(time.monotonic(), SCORES, "1", cached=True)
    (row,) = await new_predictions.create_all([new(cached)])
    assert isinstance(row, Prediction)
    assert row.status == Status.SUCCEEDED
    assert row.cached
    assert row.attempts == 0
    assert row.started_at is None
    assert row.completed_at is not None


@pytest.mark.usefixtures("connected")
async def test_rows_wait_for_each_other_while_the_engine_is_busy_but_not_for_later_uploads(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inline, "MAX_DELAY_SECONDS", FOREVER)
    create_all, batches = new_predictions.create_all, []

    async def recording(new: list[NewPrediction]) -> list[Prediction | IdempotencyKeyInFlight]:
        batches.append([one.received_at for one in new])
        return await create_all(new)

    monkeypatch.setattr(new_predictions, "create_all", recording)
    go_on = threading.Event()
    busy = Inline(settings, FakeEngine(until(go_on)), threads=1)
    classifications = [asyncio.create_task(busy.classify(jpeg())) for _ in range(8)]
    result = InlineResult(0, SCORES, "1")
    create = busy.classifier.create
    async with asyncio.timeout(20):
        waiting = [asyncio.create_task(create(new(result, received_at))) for received_at in (3, 4, 5)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert batches == []
        await create(new(result, received_at=6))
        await asyncio.gather(*waiting)
        # It was received before those, so it does not wait.
        await create(new(result, received_at=2))
    assert batches == [[3, 4, 5, 6], [2]]
    go_on.set()
    await asyncio.gather(*classifications)


async def test_upload_is_retried_after_the_engine_died(client: httpx.AsyncClient, upload: Upload) -> None:
    classify, has_died = Engine.classify, False

    async def dies_once(engine: Engine, model: str, data: bytes, **options: Any) -> Classification:
        nonlocal has_died
        if not has_died:
            has_died = True
            raise EngineDied
        return await classify(engine, model, data, **options)

    with patch.object(Engine, "classify", dies_once):
        prediction = (await upload(jpeg(), Prefer="wait=30")).json()
    assert prediction["status"] == "succeeded"
    assert prediction["attempts"] == 1
    assert (await client.get(f"/predictions/{prediction['id']}/")).json() == prediction


async def test_classified_upload_that_cannot_be_stored_gets_503(
    client: httpx.AsyncClient, upload: Upload, settings: Settings
) -> None:
    with patch("app.storage.folder._create", side_effect=OSError(28, "No space left on device")):
        assert (await upload(jpeg(), Prefer="wait=30")).status_code == 503
    assert uploaded_files(settings) == []
    assert (await client.get("/predictions/")).json() == []


async def test_upload_cancelled_while_it_waits_leaves_no_image(settings: Settings) -> None:
    requested = asyncio.Event()

    async def never(_engine: Engine, _model: str, _data: bytes, **_options: bool) -> Classification:
        requested.set()
        await asyncio.Future()
        raise AssertionError

    with patch.object(Engine, "classify", never):
        async with serving(settings) as client:
            files, headers = {"file": ("a.jpg", jpeg())}, {"Prefer": "wait=30"}
            waiting = asyncio.create_task(client.post("/predictions/", files=files, headers=headers))
            async with asyncio.timeout(20):
                await requested.wait()
            waiting.cancel()
            await asyncio.wait([waiting])
            assert (await client.get("/predictions/")).json() == []
    assert uploaded_files(settings) == []
