"""How predictions come to be classified: in this process, or by workers that take them from a queue."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from app.crud import Attempt, NewPrediction
from app.engine import Engine
from app.models.service import ModelRead
from app.models.tortoise import Prediction
from app.notices import Notices
from app.registry import Registry

Afterwards = Callable[[], Awaitable[object]]
"""What is left to be done when a client has its answer."""


@dataclass(frozen=True, slots=True)
class ImageModel:
    """A model that classifies images: its name in the registry, and what identifies its weights."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Health:
    """Whether predictions can be made: ``ok`` or what is wrong, and what an operator should know."""

    model: str
    worker: str
    notes: list[str]


class Dispatch(Protocol):
    """What the routes need. Every method raises DatabaseUnavailable while the database is away."""

    async def image_model(self, name: str) -> ImageModel:
        """A model by its name, the default one for an empty name. Raises ModelUnknown, or NoWorkerYet."""

    async def models(self) -> list[ModelRead]:
        """All models, the broken ones too."""

    async def attempt(self, model: str, data: bytes, seconds: float) -> Attempt | None:
        """Classify an image that has no row yet, where that can be done; None where it needs its row."""

    async def create(self, new: NewPrediction) -> Prediction:
        """Make a prediction's row; when this returns it is committed, and is classified, come what may."""

    async def reclassify(self, prediction_id: int, model: ImageModel) -> Prediction:
        """Make a finished prediction pending again. Raises PredictionNotFound or PredictionUnfinished."""

    def start(self, prediction: Prediction, data: bytes | None) -> None:
        """Have a pending prediction classified, if that is not done by others.

        ``data``: the image's bytes, where they are at hand; the caller need not keep them.
        """

    async def finished(self, prediction: Prediction, seconds: float) -> Prediction | None:
        """Wait until a prediction that was started is finished; None where ``seconds`` were not enough."""

    def afterwards(self, prediction: Prediction) -> Afterwards | None:
        """What a response is followed by, until the prediction is finished; None where others do it."""

    async def health(self, *, database_answers: bool) -> Health:
        """Whether predictions can be made, as far as that can be told where the database does not answer."""


@dataclass(frozen=True, slots=True)
class Running:
    """What runs beside the routes."""

    registry: Registry
    """Of the tabular models at least."""
    dispatch: Dispatch
    notices: Notices
    engine: Engine
    """What shows images, wherever they are classified."""
