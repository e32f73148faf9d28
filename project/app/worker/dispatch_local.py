"""Classifies predictions in the web process, on the same machine (``QUEUE=local``)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Final

from app import crud, history
from app.catalog import read_models
from app.coalescing import Batcher
from app.config import Settings
from app.crud import Attempt, NewPrediction
from app.db import connected, database_url
from app.deliverer import make_webhook_worker
from app.dispatch import Afterwards, Health, ImageModel, Running
from app.domain import ModelUnknown
from app.engine import Engine
from app.engine.checker import ModelProbe
from app.engine.loading import load_registry, loaded, engine_config
from app.models.service import ModelRead
from app.models.tortoise import Prediction
from app.notices import NotificationListener
from app.ownership import claim_storage
from app.registry import Registry
from app.retention import run_retention
from app.storage import Storage
from app.sweeper import expire_records, run_sweeper
from app.worker import Worker

MAX_ROWS: Final = 64


class LocalDispatch:
    """Passes predictions to this process's worker."""

    def __init__(self, registry: Registry, checker: ModelProbe, engine: Engine, worker: Worker) -> None:
        self._registry = registry
        self._checker = checker
        self._engine = engine
        self._worker = worker
        self._create = Batcher(crud.create_all, most=MAX_ROWS)

    async def image_model(self, name: str) -> ImageModel:
        """A model by name, or the default for an empty name. Raises ModelUnknown."""
        default = self._registry.default
        if not name or name == default.name:
            return ImageModel(default.name, default.version)
        # An unknown name triggers a scan: the model's folder may be new.
        model = await asyncio.to_thread(self._registry.get, name)
        if model.manifest.kind != "image":
            raise ModelUnknown(f"The model {name!r} does not classify images")
        return ImageModel(model.name, model.version)

    async def models(self) -> list[ModelRead]:
        """All models, including new ones, each checked."""
        await self._checker.look()
        return read_models(self._registry, {*self._registry.loaded, *await self._engine.loaded()})

    async def attempt(self, model: str, data: bytes, seconds: float) -> Attempt | None:
        """Classify an image that has no row yet; None after the time limit, or if too many bytes are in memory."""
        return await self._worker.attempt(model, data, seconds)

    async def create(self, new: NewPrediction) -> Prediction:
        """Create a prediction's row, batched with concurrent ones."""
        attempted = new.attempt and not new.attempt.cached
        return await (self._worker.create_attempted(new) if attempted else self._create(new))

    async def reclassify(self, prediction_id: int, model: ImageModel) -> Prediction:
        """Make a finished prediction pending again. Raises PredictionNotFound or PredictionUnfinished."""
        return await history.reclassify(prediction_id, model.name, model.version)

    def start(self, prediction: Prediction, data: bytes | None) -> None:
        """Have the worker classify a pending prediction; it keeps the bytes if it has room."""
        self._worker.start(prediction.id, data, prediction.attempts)

    async def finished(self, prediction: Prediction, seconds: float) -> Prediction | None:
        """Wait for the worker. After the time limit only the wait ends; classification continues."""
        task = self._worker.start(prediction.id, tried=prediction.attempts)
        done, _ = await asyncio.wait([task], timeout=max(0.0, seconds))
        return task.result() if done else None

    def afterwards(self, prediction: Prediction) -> Afterwards:
        """Classifies a pending prediction that no client waits for."""
        return partial(self._worker.classify, prediction.id)

    async def health(self, *, database_answers: bool) -> Health:  # noqa: ARG002 - required by the protocol
        """Whether the engine and the worker are alive."""
        return Health(
            model="ok" if self._engine.is_alive else "The engine died and is restarting: try again shortly.",
            worker="ok" if self._worker.is_alive else "The worker is not running: restart the service.",
            notes=[self._registry.note] if self._registry.note else [],
        )


@asynccontextmanager
async def local_dispatch(settings: Settings, storage: Storage) -> AsyncIterator[Running]:
    """Run the engine, the database and the worker while inside. Raises StartupError."""
    registry = await asyncio.to_thread(load_registry, settings)
    orders = engine_config(settings, registry.default)
    engine, checker = Engine(orders), ModelProbe(orders, registry)
    worker = Worker(engine, storage, settings.retry_policy, settings.worker_threads)
    embedded = settings.database_url is None
    async with (
        engine.running(),
        database_url(settings) as url,
        connected(url, settings),
        claim_storage(storage, settings.recover_seconds),
        loaded(engine, checker, registry, everything=settings.models_loading == "start"),
        worker.running(settings.recover_seconds, only_process=embedded),
        run_sweeper(storage, settings),
        run_retention(storage, settings),
        expire_records(),
    ):
        notices, webhook_worker = NotificationListener(url), make_webhook_worker(settings)
        async with notices.listening(), webhook_worker.running() if webhook_worker else nullcontext():
            yield Running(registry, LocalDispatch(registry, checker, engine, worker), notices, engine)
