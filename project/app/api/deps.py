"""What the routes need of the running application, typed."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.classifier import Classifier
from app.config import Settings
from app.storage import Storage
from app.worker import Worker


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the lifespan of the application builds and the routes use."""

    settings: Settings
    storage: Storage
    classifier: Classifier
    worker: Worker


def _runtime(request: Request) -> Runtime:
    runtime = request.state.runtime
    assert isinstance(runtime, Runtime)
    return runtime


Running = Annotated[Runtime, Depends(_runtime)]
