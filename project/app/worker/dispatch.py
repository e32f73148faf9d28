"""Dispatch: how predictions get classified, in this process or by workers through the queue."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from app.classifier.registry import Registry
from app.db.crud.new_predictions import InlineResult, NewPrediction
from app.db.notifications import NotificationListener
from app.models.pydantic_system import ModelRead
from app.models.tortoise import Prediction

if TYPE_CHECKING:
    from app.worker.custom_models import CustomModels
    from app.worker.model_settings import ModelSettings

BackgroundCall = Callable[[], Awaitable[object]]
"""What remains to be done after the response is sent."""


@dataclass(frozen=True, slots=True)
class ImageModel:
    """An image model: its name in the registry and the version that identifies its weights."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class DispatchHealth:
    """Whether predictions can be made: ``ok`` or what is wrong, and notes for the operator."""

    model: str
    worker: str
    notes: list[str]


class Dispatch(Protocol):
    """What routes need. Every method raises DatabaseUnavailable while the database is unavailable."""

    async def image_model(self, name: str) -> ImageModel:
        """A model by name, or the default for an empty name. Raises ModelUnknown or NoWorkerYet."""

    async def models(self) -> list[ModelRead]:
        """All models, including broken ones."""

    async def classify_inline(self, model: str, data: bytes, seconds: float) -> InlineResult | None:
        """Classify an image that has no row yet, if possible here; None if it needs its row first."""

    async def create(self, new: NewPrediction) -> Prediction:
        """Create a prediction's row; on return it is committed and will be classified."""

    async def reclassify(self, prediction_id: int, model: ImageModel) -> Prediction:
        """Make a finished prediction pending again. Raises PredictionNotFound or PredictionUnfinished."""

    def start(self, prediction: Prediction, data: bytes | None) -> None:
        """Start to classify a pending prediction, unless others do it.

        ``data``: the image's bytes, if available; the caller need not keep them.
        """

    async def wait_until_finished(self, prediction: Prediction, seconds: float) -> Prediction | None:
        """Wait until a started prediction is finished; None if that takes longer than ``seconds``."""

    def after_response(self, prediction: Prediction) -> BackgroundCall | None:
        """What to run after the response, until the prediction is finished; None if others do it."""

    async def health(self, *, database_answers: bool) -> DispatchHealth:
        """Whether predictions can be made, as far as that is known without the database."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What runs besides the routes."""

    registry: Registry
    """Contains at least the tabular models."""
    dispatch: Dispatch
    notifications: NotificationListener
    custom: "CustomModels"
    model_settings: "ModelSettings"
