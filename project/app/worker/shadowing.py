"""Classifies a share of the uploads with a second model as well, without delaying others."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

from app.classifier.engine.frames import EngineConfig
from app.classifier.engine.process import IDLE_PATIENCE, Engine
from app.concurrency import in_background
from app.db.crud import predictions, shadows
from app.db.crud.shadows import ActiveShadow, Claimed
from app.domain import DatabaseUnavailable, EngineDied, PredictionNotFound, ServiceError, StorageUnavailable
from app.observability.log_events import SHADOW_ERROR
from app.observability.task_errors import log_errors
from app.storage import Storage
from app.worker.custom_models import CustomModels
from app.worker.engine_requests import EngineRequests
from app.worker.model_settings import ModelSettings

log = logging.getLogger(__name__)

SEARCH_SECONDS: Final = 1.0
BUSY_SECONDS: Final = 0.02
AT_ONCE: Final = 8
"""Images that are claimed in one statement."""
INTERNAL_ERROR: Final = "internal_error"


class Shadowing:
    """Runs the second model in a process of its own, which exists only during a comparison."""

    def __init__(
        self,
        config: EngineConfig,
        storage: Storage,
        custom: CustomModels,
        model_settings: ModelSettings,
        default_name: Callable[[], str],
        label_count: Callable[[str], Awaitable[int]],
        is_busy: Callable[[], bool],
    ) -> None:
        """``config``: of the engine that classifies. ``default_name``: of the model that MODEL selects.

        ``label_count``: number of a model's labels; 0 if this process does not have the model. ``is_busy``: whether
        this process classifies an image for others.
        """
        self._is_busy = is_busy
        self._label_count = label_count
        # It may wait for long: an image takes as many times as long as heartbeats may.
        seconds = config.image_seconds * IDLE_PATIENCE
        self._config = replace(config, default="", threads=1, only_when_idle=True, image_seconds=seconds)
        self._died: set[int] = set()
        """Predictions at which the process has ended once."""
        self._storage = storage
        self._custom = custom
        self._model_settings = model_settings
        self._default_name = default_name

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Compare while inside, whenever people want that."""
        async with in_background(self._run()):
            yield

    async def _run(self) -> None:
        while True:
            if self._model_settings.shadow:
                with log_errors("Classifying with the shadow model"):
                    await self._compare()
            await asyncio.sleep(SEARCH_SECONDS)

    async def _compare(self) -> None:
        """Classify what there is until the comparison ends."""
        engine = Engine(self._config, "The process of the shadow model")
        requests = EngineRequests(engine, 1, self._custom, self._model_settings, embed=False)
        async with engine.running(on_demand=True):
            while shadow := self._model_settings.shadow:
                # Other tasks report outages.
                with suppress(DatabaseUnavailable, StorageUnavailable):
                    while await self._compare_some(shadow, requests):
                        pass
                await asyncio.sleep(SEARCH_SECONDS)

    async def _compare_some(self, shadow: ActiveShadow, requests: EngineRequests) -> bool:
        """Classify a few images, one after the other; returns whether there were any, and may be more."""
        default = self._model_settings.default_name or self._default_name()
        if shadow.model == default or not await self._label_count(shadow.model):
            return False
        await self._until_idle()
        claimed = await shadows.claim(shadow, default, AT_ONCE)
        for one in claimed:
            await self._until_idle()
            if self._model_settings.shadow != shadow:
                return False
            await self._classify(shadow, one, requests)
        return bool(claimed)

    async def _until_idle(self) -> None:
        """Wait until no image of others is classified: even with the lowest priority, memory and caches are shared."""
        while self._is_busy():  # noqa: ASYNC110 - the engine has no such event
            await asyncio.sleep(BUSY_SECONDS)

    async def _classify(self, shadow: ActiveShadow, claimed: Claimed, requests: EngineRequests) -> None:
        (prediction,) = await predictions.get_all([claimed.prediction_id])
        if isinstance(prediction, PredictionNotFound):
            # Deleted, and what was claimed with it.
            return
        version, scores, error_code = None, [], None
        try:
            data = await self._storage.read(prediction.image_path)
            result = await requests.classify(shadow.model, data)
            version, scores = result.version, result.scores
        except (DatabaseUnavailable, StorageUnavailable):
            raise
        except EngineDied as error:
            if claimed.prediction_id not in self._died:
                # Perhaps because of another image: it is taken again after its lease.
                self._died.add(claimed.prediction_id)
                return
            error_code = error.code
        except ServiceError as error:
            error_code = error.code
        except Exception:
            log.exception(SHADOW_ERROR, claimed.prediction_id)
            error_code = INTERNAL_ERROR
        await shadows.save(claimed, version, scores, error_code)
