"""Classifies predictions in the web process, on the same machine (``QUEUE=local``)."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import Final

from app.classifier.engine.model_check import ModelProbe
from app.classifier.engine.process import Engine
from app.classifier.engine.startup import engine_config, load_registry, models_loaded
from app.classifier.listing import read_models
from app.classifier.registry import Registry
from app.concurrency import Batcher
from app.config import Settings
from app.db.connection import connected, database_url, when_available
from app.db.crud import history, new_predictions, predictions
from app.db.crud.new_predictions import InlineResult, NewPrediction
from app.db.migrations import migrate_if_needed
from app.db.notifications import FINISHED, NotificationListener
from app.db.server_checks import check_server
from app.domain import DatabaseUnavailable, ModelUnknown, PredictionNotFound
from app.models.pydantic_system import ModelRead
from app.models.tortoise import Prediction
from app.outbound.webhook_worker import make_webhook_worker
from app.storage import Storage
from app.storage.ownership import claim_storage
from app.storage.retention import expire_records, run_retention
from app.storage.sweeper import run_sweeper
from app.worker.calibrating import Calibrator
from app.worker.custom_models import CustomModels, base_version, image_model_of, label_count, read_custom_model
from app.worker.dispatch import Backend, BackgroundCall, DispatchHealth, ImageModel
from app.worker.inline import InlineClassifier
from app.worker.model_settings import ModelSettings
from app.worker.recovery import Recovery
from app.worker.shadowing import Shadowing
from app.worker.training import Trainer
from app.worker.worker import Worker

MAX_ROWS: Final = 64


class LocalDispatch:
    """Passes predictions to this process's worker."""

    def __init__(
        self,
        registry: Registry,
        probe: ModelProbe,
        engine: Engine,
        worker: Worker,
        inline: InlineClassifier,
        recovery: Recovery,
        notifications: NotificationListener,
        custom: CustomModels,
        model_settings: ModelSettings,
    ) -> None:
        self._registry = registry
        self._probe = probe
        self._engine = engine
        self._worker = worker
        self._inline = inline
        self._recovery = recovery
        self._notifications = notifications
        self._custom = custom
        self._model_settings = model_settings
        self._get = Batcher(predictions.get_all, max_items=MAX_ROWS)
        self._create = Batcher(new_predictions.create_all, max_items=MAX_ROWS)

    async def image_model(self, name: str) -> ImageModel:
        """A model by name, or the default for an empty name. Raises ModelUnknown."""
        return await self._model_settings.named_or_default(name, self._image_model)

    async def _image_model(self, name: str) -> ImageModel:
        default = self._registry.default
        if not name or name == default.name:
            return ImageModel(default.name, default.version)
        custom = self._custom.find(name)
        if custom and custom.training_id is None:
            # It may have been trained by another process a moment ago.
            custom = await self._custom.look_up(name)
        if custom:
            return image_model_of(custom)
        try:
            # An unknown name triggers a scan: the model's folder may be new.
            model = await asyncio.to_thread(self._registry.get, name)
        except ModelUnknown:
            if new := await self._custom.look_up(name):
                return image_model_of(new)
            raise
        if model.manifest.kind != "image":
            raise ModelUnknown(f"The model {name!r} does not classify images")
        return ImageModel(model.name, model.version)

    async def models(self) -> list[ModelRead]:
        """All models, including new ones, each checked."""
        await self._probe.refresh()
        models = read_models(self._registry, {*self._registry.loaded, *await self._engine.loaded()})
        models += [read_custom_model(model) for model in await self._custom.all()]
        return self._model_settings.with_default(models)

    async def classify_inline(self, model: str, data: bytes, seconds: float) -> InlineResult | None:
        """Classify an image that has no row yet; None after the time limit, or if too many bytes are in memory."""
        return await self._inline.classify(model, data, seconds)

    async def create(self, new: NewPrediction) -> Prediction:
        """Create a prediction's row, batched with concurrent ones."""
        was_classified = new.inline_result and not new.inline_result.cached
        return await (self._inline.create(new) if was_classified else self._create(new))

    async def reclassify(self, prediction_id: int, model: ImageModel) -> Prediction:
        """Make a finished prediction pending again. Raises PredictionNotFound or PredictionUnfinished."""
        return await history.reclassify(prediction_id, model.name, model.version)

    def start(self, prediction: Prediction, data: bytes | None) -> None:
        """Have the worker classify a pending prediction; it keeps the bytes if it has room."""
        self._worker.start(prediction.id, data, prediction.attempts)

    async def wait_until_finished(self, prediction: Prediction, seconds: float) -> Prediction | None:
        """Wait for the worker. After the time limit only the wait ends; classification continues."""
        task = self._worker.start(prediction.id, attempts=prediction.attempts)
        deadline = time.monotonic() + seconds
        done, _ = await asyncio.wait([task], timeout=max(0.0, seconds))
        if not done:
            return None
        if finished := task.result():
            return finished
        # Another process was faster, or the attempt has to be repeated.
        left = max(0.0, deadline - time.monotonic())
        with suppress(PredictionNotFound, DatabaseUnavailable):
            current = await self._notifications.wait_until_finished(prediction.id, left, self._get)
            return current if current.status in FINISHED else None
        return None

    def after_response(self, prediction: Prediction) -> BackgroundCall:
        """Classifies a pending prediction that no client waits for."""
        return partial(self._worker.classify, prediction.id)

    async def health(self, *, database_answers: bool) -> DispatchHealth:  # noqa: ARG002 - required by the protocol
        """Whether the engine and the worker are alive."""
        return DispatchHealth(
            model="ok" if self._engine.is_alive else "The engine died and is restarting: try again shortly.",
            worker="ok" if self._recovery.is_alive else "The worker is not running: restart the service.",
            notes=[self._registry.note] if self._registry.note else [],
        )


@asynccontextmanager
async def local_dispatch(settings: Settings, storage: Storage, running_engine: Engine | None) -> AsyncIterator[Backend]:
    """Run the engine, the database and the worker while inside. Raises StartupError.

    ``running_engine``: one to use instead of starting another.
    """
    registry = await asyncio.to_thread(load_registry, settings)
    config = engine_config(settings, registry.default)
    # A model that was added since then may be the default now.
    started = running_engine if running_engine and running_engine.config == config else None
    engine, probe = started or Engine(config), ModelProbe(config, registry)
    policy = settings.retry_policy
    custom, model_settings = CustomModels(), ModelSettings()
    worker = Worker(
        engine, storage, policy, settings.worker_threads, custom, model_settings, embed=settings.keep_embeddings
    )
    count = partial(label_count, registry, custom)
    trainer = Trainer(worker.requests, storage, custom, partial(base_version, registry))
    shadowing = Shadowing(
        config, storage, custom, model_settings, lambda: registry.default.name, count, lambda: engine.is_busy
    )
    inline = InlineClassifier(worker.requests, worker.buffer, policy)
    recovery = Recovery(worker, policy)
    is_embedded = settings.database_url is None
    async with (
        nullcontext() if started else engine.running(),
        _database(settings) as url,
        claim_storage(storage, settings),
        models_loaded(engine, probe, registry, load_all=settings.models_loading == "start"),
        recovery.running(settings.recover_seconds, only_process=is_embedded),
        run_sweeper(storage, settings),
        run_retention(storage, settings),
        expire_records(),
        custom.following(),
        model_settings.following(),
        Calibrator(model_settings, count).running(),
        trainer.running(),
        shadowing.running(),
    ):
        notifications, webhook_worker = (
            NotificationListener(url),
            make_webhook_worker(settings, model_settings.calibrated_confidence),
        )
        dispatch = LocalDispatch(
            registry, probe, engine, worker, inline, recovery, notifications, custom, model_settings
        )
        async with notifications.listening(), webhook_worker.running() if webhook_worker else nullcontext():
            yield Backend(registry, dispatch, notifications, custom, model_settings)


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[str]:
    """Connect to the database, and yield its URL. The embedded one is migrated, and another one is checked."""
    is_embedded = settings.database_url is None
    async with database_url(settings) as url:
        if is_embedded:
            await migrate_if_needed(url, settings)
        async with connected(url, settings):
            if not is_embedded:
                await when_available(partial(check_server, url, settings), settings.database_wait_seconds)
            yield url
