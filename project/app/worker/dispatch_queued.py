"""Leaves predictions to workers on any number of hosts, which take jobs from a queue (``QUEUE=pgqueuer``)."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from cachetools import TTLCache

from app.classifier.listing import read_models
from app.classifier.registry import FOLLOW_SECONDS, Registry
from app.concurrency import Batcher, repeating
from app.config import Settings
from app.db.connection import connected, database_url, when_available
from app.db.crud import history, new_predictions, predictions, workers
from app.db.crud.new_predictions import InlineResult, NewPrediction
from app.db.notifications import FINISHED, NotificationListener
from app.db.server_checks import check_server
from app.db.transactions import transaction
from app.domain import (
    DatabaseUnavailable,
    IdempotencyKeyInFlight,
    ModelUnknown,
    NoWorkerYet,
    PredictionNotFound,
    Status,
)
from app.models.pydantic_system import ModelRead
from app.models.tortoise import Prediction
from app.observability.timing import trace_headers
from app.storage import Storage
from app.storage.ownership import claim_storage
from app.worker import job_queue
from app.worker.custom_models import CustomModels, image_model_of, read_custom_model
from app.worker.dispatch import Backend, BackgroundCall, DispatchHealth, ImageModel
from app.worker.model_settings import ModelSettings

MAX_ROWS: Final = 64
MODELS_CACHE_SECONDS: Final = 2.0
"""How long the workers' models are cached; an unknown name is looked up immediately."""


class QueuedDispatch:
    """Adds jobs for workers and waits for results."""

    def __init__(
        self,
        notifications: NotificationListener,
        registry: Registry,
        custom: CustomModels,
        model_settings: ModelSettings,
    ) -> None:
        """``registry``: the tabular models, which this process runs itself."""
        self._custom = custom
        self._model_settings = model_settings
        self._notifications = notifications
        self._registry = registry
        self._create = Batcher(_create_all, max_items=MAX_ROWS)
        self._get = Batcher(predictions.get_all, max_items=MAX_ROWS)
        self._read_models = Batcher(_read_models, max_items=sys.maxsize)
        self._models: TTLCache[str, list[ModelRead]] = TTLCache(1, MODELS_CACHE_SECONDS)

    async def image_model(self, name: str) -> ImageModel:
        """A worker's model by name, or the default for an empty name.

        Raises ModelUnknown or NoWorkerYet.
        """
        return await self._model_settings.named_or_default(name, self._image_model)

    async def _image_model(self, name: str) -> ImageModel:
        custom = self._custom.find(name)
        if custom and custom.training_id is None:
            # It may have been trained by another process a moment ago.
            custom = await self._custom.look_up(name)
        if custom:
            return image_model_of(custom)
        for use_cache in (True, False):
            models = await self._workers_models(use_cache=use_cache)
            for model in models:
                if model.status == "ok" and model.kind == "image" and (model.name == name if name else model.default):
                    return ImageModel(model.name, model.version or "")
        if name and (custom := await self._custom.look_up(name)):
            return image_model_of(custom)
        if not models:
            raise NoWorkerYet
        names = ", ".join(model.name for model in models if model.status == "ok" and model.kind == "image") or "none"
        wanted = f"an image model {name!r}" if name else "a working default model"
        raise ModelUnknown(f"No worker has {wanted}; available: {names}.")

    async def models(self) -> list[ModelRead]:
        """Image models of the workers and tabular models of this process."""
        image_models = [model for model in await self._workers_models(use_cache=False) if model.kind != "tabular"]
        await asyncio.to_thread(self._registry.scan)
        own_models = read_models(self._registry, self._registry.loaded)
        custom_models = [read_custom_model(model) for model in await self._custom.all()]
        models = image_models + [model for model in own_models if model.kind == "tabular"] + custom_models
        return self._model_settings.with_default(models)

    async def classify_inline(
        self,
        model: str,  # noqa: ARG002 - required by the protocol
        data: bytes,  # noqa: ARG002
        seconds: float,  # noqa: ARG002
    ) -> InlineResult | None:
        """None: this process classifies no images."""
        return None

    async def create(self, new: NewPrediction) -> Prediction:
        """Create a prediction's row and its job in one transaction, batched with concurrent ones."""
        return await self._create(new)

    async def reclassify(self, prediction_id: int, model: ImageModel) -> Prediction:
        """Make a finished prediction pending again, with a job. Raises PredictionNotFound or PredictionUnfinished."""
        async with transaction():
            prediction = await history.reclassify(prediction_id, model.name, model.version)
            await job_queue.enqueue([prediction_id], dedupe_suffix=str(time.time_ns()), headers=[trace_headers()])
        return prediction

    def start(self, prediction: Prediction, data: bytes | None) -> None:
        """Nothing to do: the job exists already."""

    async def wait_until_finished(self, prediction: Prediction, seconds: float) -> Prediction | None:
        """Wait until a worker has finished a prediction; None after ``seconds``, or if it was deleted."""
        with suppress(PredictionNotFound, DatabaseUnavailable):
            current = await self._notifications.wait_until_finished(prediction.id, seconds, self._get)
            return current if current.status in FINISHED else None
        return None

    def after_response(self, prediction: Prediction) -> BackgroundCall | None:  # noqa: ARG002 - required by the protocol
        """None: a worker does it."""
        return None

    async def health(self, *, database_answers: bool) -> DispatchHealth:
        """Whether a worker is alive; workers only announce themselves while their engine responds."""
        problem = "Unknown while the database is unavailable."
        if database_answers:
            with suppress(DatabaseUnavailable):
                if await workers.count_alive():
                    notes = [model.note for model in await self._workers_models(use_cache=True) if model.note]
                    return DispatchHealth(model="ok", worker="ok", notes=notes)
                problem = f"No worker was alive in the last {workers.ALIVE_FOR.seconds} s: start `./classifier worker`."
        return DispatchHealth(model="ok", worker=problem, notes=[])

    async def _workers_models(self, *, use_cache: bool) -> list[ModelRead]:
        models: list[ModelRead] | None = self._models.get("") if use_cache else None
        if models is None:
            models = self._models[""] = await self._read_models(None)
        return models


async def _read_models(requests: list[None]) -> list[list[ModelRead]]:
    # The cache expires for all callers at once.
    return [await workers.models()] * len(requests)


async def _create_all(new: list[NewPrediction]) -> list[Prediction | IdempotencyKeyInFlight]:
    async with transaction():
        created = await new_predictions.create_all(new)
        jobs = [
            (prediction.id, one.trace_headers)
            for prediction, one in zip(created, new, strict=True)
            if isinstance(prediction, Prediction) and prediction.status == Status.PENDING
        ]
        await job_queue.enqueue([number for number, _ in jobs], headers=[headers for _, headers in jobs])
    return created


@asynccontextmanager
async def queued_dispatch(settings: Settings, storage: Storage) -> AsyncIterator[Backend]:
    """Connect to the database while inside; no image model is loaded. Raises StartupError."""
    registry = await asyncio.to_thread(Registry, settings.models, None, memory_bytes=settings.models_memory_bytes)
    async with database_url(settings) as url, connected(url, settings):
        for check in (partial(check_server, url, settings), job_queue.check_installed):
            await when_available(check, settings.database_wait_seconds)
        notifications, custom, model_settings = NotificationListener(url), CustomModels(), ModelSettings()
        dispatch = QueuedDispatch(notifications, registry, custom, model_settings)
        refresh = partial(asyncio.to_thread, registry.refresh)
        async with (
            claim_storage(storage, settings),
            notifications.listening(),
            repeating(refresh, FOLLOW_SECONDS, "Looking for changed models"),
            custom.following(),
            model_settings.following(),
        ):
            yield Backend(registry, dispatch, notifications, custom, model_settings)
