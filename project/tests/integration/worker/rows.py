"""Rows for a worker, and an engine with prepared results."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from app.classifier.engine.process import Classification
from app.db.connection import execute
from app.db.crud import new_predictions, predictions
from app.domain import ImageInfo, LabelScore, Status, Thresholds
from app.images.preprocessing import to_tensor
from app.models.tortoise import Prediction
from app.storage import Storage
from app.worker.recovery import Recovery
from app.worker.worker import Worker
from tests.pictures import jpeg

SCORES = [LabelScore(f"label_{n}", 0.5 / 2**n) for n in range(5)]


class FakeEngine:
    """Returns fixed scores after running a test's callback."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.meanwhile = meanwhile
        self.calls = 0
        self.alone: list[bool] = []
        """Whether each image was to be classified alone."""

    async def classify(
        self,
        _model: str,
        data: bytes,
        *,
        alone: bool = False,
        embed: bool = False,
        thresholds: Thresholds | None = None,
    ) -> Classification:
        self.alone.append(alone)
        assert not embed
        assert thresholds is None
        return await asyncio.to_thread(self._classify, data)

    def _classify(self, data: bytes) -> Classification:
        to_tensor(data)
        self.calls += 1
        self.meanwhile()
        return Classification(SCORES, "answering", "2", (0.0, 0.0))


async def pending(storage: Storage, data: bytes | None = None) -> Prediction:
    """A pending row with its image."""
    data = jpeg() if data is None else data
    return await new_predictions.create(
        new_predictions.NewPrediction(
            filename="a.jpg",
            image_path=await storage.put(data, "jpg"),
            image=ImageInfo("image/jpeg", "jpg", 400, 300),
            size_bytes=len(data),
            sha256="0" * 64,
            model="fake",
            model_version="1",
            received_at=time.monotonic(),
        )
    )


async def set_columns(prediction: Prediction, **columns: Any) -> None:
    """Put a row into a state that only a crash causes."""
    await Prediction.filter(id=prediction.id).update(**columns)


@asynccontextmanager
async def running(worker: Worker, *, only_process: bool = False) -> AsyncIterator[Recovery]:
    recovery = Recovery(worker, worker._policy)
    async with recovery.running(0.05, only_process=only_process):
        yield recovery


async def finished(prediction: Prediction) -> Prediction:
    """The row when it is finished."""
    async with asyncio.timeout(10):
        while True:
            row = await predictions.get(prediction.id)
            if row.status in {Status.SUCCEEDED, Status.FAILED}:
                return row
            await asyncio.sleep(0.01)


async def now_plus(seconds: float) -> Any:
    rows = await execute("SELECT now() + $1 * interval '1 second' AS time", [seconds])
    return rows[0]["time"]
