"""Fits the temperatures of confidences to reviews, whenever these change."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Final

from app.classifier.confidence import Reviewed, fit_temperature, missing_reviews, weighted
from app.concurrency import repeating
from app.db.crud import accuracy, calibrations
from app.db.crud.calibrations import ReviewedScores
from app.domain import DatabaseUnavailable
from app.worker.model_settings import ModelSettings

SEARCH_SECONDS: Final = 5.0
PAUSE_FACTOR: Final = 20
"""How much longer than a fit the pause after it is at least, so that it takes at most a twentieth of the time."""


class Calibrator:
    """Notices reviews of any process, and stores the temperatures that follow from them."""

    def __init__(self, model_settings: ModelSettings, label_count: Callable[[str], Awaitable[int]]) -> None:
        """``label_count``: number of a model's labels; 0 if the model is gone."""
        self._label_count = label_count
        self._model_settings = model_settings
        self._seen: tuple[int, datetime | None] | None = None
        self._resting_until = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the reviews while inside."""
        async with repeating(self._step, SEARCH_SECONDS, "Fitting temperatures to reviews"):
            yield

    async def _step(self) -> None:
        if time.monotonic() < self._resting_until:
            return
        # Other tasks report outages.
        with suppress(DatabaseUnavailable):
            state = await calibrations.state_of_reviews()
            if state == self._seen:
                return
            started_at = time.monotonic()
            try:
                await self.fit_all()
                self._seen = state
            finally:
                # Also after a failure, such as a statement that took too long.
                self._resting_until = time.monotonic() + PAUSE_FACTOR * (time.monotonic() - started_at)

    async def fit_all(self) -> None:
        """Fit the temperature of each version of a model that has reviews. Raises DatabaseUnavailable."""
        versions = await accuracy.by_version()
        for one in versions:
            labels = await self._label_count(one.model)
            if not labels:
                # Processes that have the model know its labels.
                continue
            given = await calibrations.reviewed(one.model, one.model_version)
            temperature = await asyncio.to_thread(_temperature, given, labels)
            await calibrations.save(one.model, one.model_version, one.reviewed, one.correct, labels, temperature)
        await calibrations.keep_only([(one.model, one.model_version) for one in versions])
        await self._model_settings.refresh()


def read_reviewed(given: ReviewedScores, labels: int) -> Reviewed:
    """Reviews as arrays; ``labels``: the number of the model's labels."""
    scores = [[one["confidence"] for one in json.loads(text)] for text in given.scores]
    return weighted(scores, labels, given.correct, given.population)


def _temperature(given: ReviewedScores, labels: int) -> float | None:
    results = read_reviewed(given, labels)
    return None if missing_reviews(results.correct) else fit_temperature(results)
