"""Leaves predictions to workers on any number of hosts, which take jobs from a queue (``QUEUE=pgqueuer``)."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from cachetools import TTLCache

from app import crud, fleet, history, queue
from app.catalog import read_models
from app.coalescing import Batcher
from app.config import Settings
from app.crud import Attempt, NewPrediction
from app.db import connected, database_url, transaction
from app.dispatch import Afterwards, Health, ImageModel, Running
from app.domain import (
    DatabaseUnavailable,
    IdempotencyKeyInFlight,
    ModelUnknown,
    NoWorkerYet,
    PredictionNotFound,
    Status,
)
from app.engine import Engine
from app.engine.loading import engine_config
from app.models.service import ModelRead
from app.models.tortoise import Prediction
from app.notices import FINISHED, NotificationListener
from app.ownership import claim_storage
from app.registry import Registry
from app.storage import Storage
from app.timing import carried

MAX_ROWS: Final = 64
MODELS_SECONDS: Final = 2.0
"""How long the workers' models are cached; an unknown name is looked up immediately."""


class QueuedDispatch:
    """Adds jobs for workers and waits for results."""

    def __init__(self, notices: NotificationListener, registry: Registry) -> None:
        """``registry``: the tabular models, which this process runs itself."""
        self._notices = notices
        self._registry = registry
        self._create = Batcher(_create_all, most=MAX_ROWS)
        self._get = Batcher(crud.get_all, most=MAX_ROWS)
        self._read_models = Batcher(_read_models, most=sys.maxsize)
        self._models: TTLCache[str, list[ModelRead]] = TTLCache(1, MODELS_SECONDS)

    async def image_model(self, name: str) -> ImageModel:
        """A worker's model by name, or the default for an empty name.

        Raises ModelUnknown or NoWorkerYet.
        """
        for remembered in (True, False):
            known = await self._workers_models(remembered=remembered)
            for model in known:
                if model.status == "ok" and model.kind == "image" and (model.name == name if name else model.default):
                    return ImageModel(model.name, model.version or "")
        if not known:
            raise NoWorkerYet
        names = ", ".join(model.name for model in known if model.status == "ok" and model.kind == "image") or "none"
        wanted = f"an image model {name!r}" if name else "a working default model"
        raise ModelUnknown(f"No worker has {wanted}; available: {names}.")

    async def models(self) -> list[ModelRead]:
        """Image models of the workers and tabular models of this process."""
        image_models = [model for model in await self._workers_models(remembered=False) if model.kind != "tabular"]
        await asyncio.to_thread(self._registry.scan)
        here = read_models(self._registry, self._registry.loaded)
        return image_models + [model for model in here if model.kind == "tabular"]

    async def attempt(self, model: str, data: bytes, seconds: float) -> Attempt | None:  # noqa: ARG002 - required by the protocol
        """None: this process classifies no images."""
        return None

    async def create(self, new: NewPrediction) -> Prediction:
        """Create a prediction's row and its job in one transaction, batched with concurrent ones."""
        return await self._create(new)

    async def reclassify(self, prediction_id: int, model: ImageModel) -> Prediction:
        """Make a finished prediction pending again, with a job. Raises PredictionNotFound or PredictionUnfinished."""
        async with transaction():
            prediction = await history.reclassify(prediction_id, model.name, model.version)
            await queue.enqueue([prediction_id], again=str(time.time_ns()), carried=[carried()])
        return prediction

    def start(self, prediction: Prediction, data: bytes | None) -> None:
        """Nothing to do: the job exists already."""

    async def finished(self, prediction: Prediction, seconds: float) -> Prediction | None:
        """Wait until a worker has finished a prediction; None after ``seconds``, or if it was deleted."""
        with suppress(PredictionNotFound, DatabaseUnavailable):
            found = await self._notices.finished(prediction.id, seconds, self._get)
            return found if found.status in FINISHED else None
        return None

    def afterwards(self, prediction: Prediction) -> Afterwards | None:  # noqa: ARG002 - required by the protocol
        """None: a worker does it."""
        return None

    async def health(self, *, database_answers: bool) -> Health:
        """Whether a worker is alive; workers only announce themselves while their engine responds."""
        told = "Unknown while the database is unavailable."
        if database_answers:
            with suppress(DatabaseUnavailable):
                if await fleet.count_alive():
                    notes = [model.note for model in await self._workers_models(remembered=True) if model.note]
                    return Health(model="ok", worker="ok", notes=notes)
                told = f"No worker was alive in the last {fleet.ALIVE_FOR.seconds} s: start `./classifier worker`."
        return Health(model="ok", worker=told, notes=[])

    async def _workers_models(self, *, remembered: bool) -> list[ModelRead]:
        known: list[ModelRead] | None = self._models.get("") if remembered else None
        if known is None:
            known = self._models[""] = await self._read_models(None)
        return known


async def _read_models(asked: list[None]) -> list[list[ModelRead]]:
    # The cache expires for all callers at once.
    return [await fleet.models()] * len(asked)


async def _create_all(new: list[NewPrediction]) -> list[Prediction | IdempotencyKeyInFlight]:
    async with transaction():
        created = await crud.create_all(new)
        jobs = [
            (prediction.id, one.carried)
            for prediction, one in zip(created, new, strict=True)
            if isinstance(prediction, Prediction) and prediction.status == Status.PENDING
        ]
        await queue.enqueue([number for number, _ in jobs], carried=[carried for _, carried in jobs])
    return created


@asynccontextmanager
async def queued_dispatch(settings: Settings, storage: Storage) -> AsyncIterator[Running]:
    """Connect to the database while inside; no image model is loaded. Raises StartupError."""
    registry = await asyncio.to_thread(Registry, settings.models, None, memory_bytes=settings.models_memory_bytes)
    # Renders images in a process of its own, so that a file that crashes a decoder affects nothing else.
    engine = Engine(engine_config(settings, None))
    async with engine.running(when_asked=True), database_url(settings) as url, connected(url, settings):
        await queue.check_installed()
        notices = NotificationListener(url)
        async with claim_storage(storage, settings.recover_seconds), notices.listening():
            yield Running(registry, QueuedDispatch(notices, registry), notices, engine)
