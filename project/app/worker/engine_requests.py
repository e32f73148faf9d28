"""The classifications that the engine is working on for this worker."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from app.classifier.engine.process import Classification, Engine
from app.domain import OTHER, Decision, LabelScore, ModelUnknown, Thresholds
from app.worker.custom_models import CustomModels
from app.worker.model_settings import ModelSettings

MIN_WRITTEN_PER_THREAD: Final = 4
"""While every thread has more to do, results are written once there are this many, or after a delay."""


class EngineRequests:
    """Sends images to the engine, and cancels the waiting for it when the worker stops."""

    def __init__(
        self, engine: Engine, threads: int, custom: CustomModels, model_settings: ModelSettings, *, embed: bool
    ) -> None:
        """``custom``: the custom models, which the engine does not know. ``embed``: every result has its embedding."""
        self._embed_all = embed
        self._engine = engine
        self._custom = custom
        self._model_settings = model_settings
        self._threads = threads
        self._pending: set[asyncio.Task[Classification]] = set()
        self.stopping = asyncio.Event()
        """Set when the worker stops."""

    def classify(self, model: str, data: bytes, *, alone: bool = False) -> asyncio.Task[Classification]:
        """Start to classify an image, ``alone`` if it may end the process; cancelled if the worker stops."""
        task = asyncio.create_task(self._classify(model, data, alone=alone))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        if self.stopping.is_set():
            task.cancel()
        return task

    async def embed(self, model: str, data: bytes, *, alone: bool = False) -> Classification:
        """Classify an image with a model of the engine, and return its embedding as well."""
        return await self._engine.classify(model, data, alone=alone, embed=True)

    async def _classify(self, name: str, data: bytes, *, alone: bool) -> Classification:
        model, thresholds = self._custom.find(name), self._model_settings.thresholds(name)
        if model is None:
            try:
                return await self._engine.classify(
                    name, data, alone=alone, embed=self._embed_all, thresholds=thresholds
                )
            except ModelUnknown:
                # A custom model may be newer than what this process knows of.
                model = await self._custom.look_up(name)
                if model is None:
                    raise
        answer = await self._custom.answer(
            model, await self._engine.classify(model.base, data, alone=alone, embed=True, details=False)
        )
        decision = _decision(answer.scores[0], thresholds) if thresholds else None
        return replace(answer, decision=decision, embedding=answer.embedding if self._embed_all else None)

    def may_delay(self, results: Sequence[object]) -> bool:
        """Whether results may wait to be written together: only while all threads have work."""
        is_few = len(results) < MIN_WRITTEN_PER_THREAD * self._threads
        return is_few and len(self._pending) > 2 * self._threads and not self.stopping.is_set()

    def stop(self) -> None:
        """Cancel the waiting for the engine, and only that: a cancelled statement might have been executed or not."""
        self.stopping.set()
        for task in self._pending:
            task.cancel()


def _decision(best: LabelScore, thresholds: Thresholds) -> Decision:
    is_sure = best.label != OTHER and best.confidence >= thresholds.of(best.label)
    return Decision.SURE if is_sure else Decision.UNSURE
