"""What people have chosen for models, and what reviews say about them, as of the last seconds."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, cast

from app.classifier.confidence import calibrate
from app.concurrency import repeating
from app.db.crud import calibrations, decision_thresholds, installation, shadows
from app.db.crud.calibrations import Temperature
from app.db.crud.shadows import ActiveShadow
from app.domain import CONFIDENCE_DIGITS, DatabaseUnavailable, ModelUnknown, Thresholds
from app.models.pydantic_system import ModelRead
from app.models.tortoise import Prediction
from app.worker.dispatch import ImageModel

FOLLOW_SECONDS: Final = 2.0
"""How long a process may go on with earlier settings."""


class ModelSettings:
    """Knows the default model, the thresholds of sure results, and the temperatures of confidences."""

    def __init__(self) -> None:
        self.default_name = ""
        """Name of the default model that people chose; empty for the one that MODEL selects."""
        self.shadow: ActiveShadow | None = None
        """The comparison of a second model with the default one, if one runs."""
        self._refreshing = asyncio.Lock()
        self._thresholds: Mapping[str, Thresholds] = {}
        self._temperatures: Mapping[tuple[str, str], Temperature] = {}

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Notice changes by other processes while inside."""
        # The first upload already gets what was chosen.
        await self._refresh_if_available()
        async with repeating(self._refresh_if_available, FOLLOW_SECONDS, "Looking for changed settings of models"):
            yield

    async def refresh(self) -> None:
        """Read all settings. Raises DatabaseUnavailable."""
        # One after the other: an earlier one must not replace what a later one has read.
        async with self._refreshing:
            self.default_name = await installation.default_model() or ""
            self._thresholds = await decision_thresholds.chosen()
            self._temperatures = await calibrations.temperatures()
            self.shadow = await shadows.active()

    async def named_or_default(self, name: str, find: Callable[[str], Awaitable[ImageModel]]) -> ImageModel:
        """What ``find`` returns for a name; for an empty one, the chosen default, unless it has been removed.

        ``find`` gets an empty name for the default that MODEL selects. Raises what it raises.
        """
        if not name and self.default_name:
            with suppress(ModelUnknown):
                return await find(self.default_name)
        return await find(name)

    def with_default(self, models: list[ModelRead]) -> list[ModelRead]:
        """Models with the chosen one as the default, which comes first; unchanged if it cannot be used."""
        if not any(model.name == self.default_name and model.status == "ok" for model in models):
            return models
        marked = [model.model_copy(update={"default": model.name == self.default_name}) for model in models]
        return sorted(marked, key=lambda model: not model.default)

    def thresholds(self, model: str) -> Thresholds | None:
        """From which confidence on a model's results are sure, if people chose that."""
        return self._thresholds.get(model)

    def calibrated_confidence(self, row: Prediction) -> float | None:
        """How likely the model's best label is right; None with too few reviews, or if people set the label."""
        temperature = self._temperatures.get((row.model, row.model_version))
        if temperature is None or not row.all_predictions or row.corrected_at is not None:
            return None
        scores = [cast(float, one["confidence"]) for one in row.all_predictions]
        return round(calibrate(scores, temperature.labels, temperature.value), CONFIDENCE_DIGITS)

    async def _refresh_if_available(self) -> None:
        # Other tasks report outages.
        with suppress(DatabaseUnavailable):
            await self.refresh()
