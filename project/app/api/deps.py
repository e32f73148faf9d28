"""What the routes need of the running application, typed."""

from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request

from app.classifier import Classifier
from app.config import Settings
from app.storage import Storage


class Executor(Protocol):
    """Whoever classifies: the in-process worker."""

    @property
    def is_alive(self) -> bool:
        """Whether predictions are taken."""

    async def classify(self, prediction_id: int) -> None:
        """Bring a prediction to its end."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the lifespan of the application builds and the routes use."""

    settings: Settings
    storage: Storage
    classifier: Classifier
    worker: Executor


def _services(request: Request) -> Services:
    services = request.state.services
    assert isinstance(services, Services)
    return services


Service = Annotated[Services, Depends(_services)]
