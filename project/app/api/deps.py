"""The state of the running application, and the dependencies that routes declare."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from cachetools import TTLCache
from fastapi import Depends, Request

from app.api.middleware.body_limit import MULTIPART_OVERHEAD
from app.classifier.engine.inspectors import Inspectors
from app.classifier.engine.renderer import Renderer
from app.classifier.registry import Registry
from app.concurrency import Batcher
from app.config import Settings
from app.db.crud import predictions
from app.db.notifications import NotificationListener
from app.domain import Caller, LabelScore, PredictionNotFound
from app.models.pydantic import PredictionRead
from app.models.pydantic_system import Ready
from app.models.tortoise import Prediction
from app.storage import Storage
from app.storage.renditions import Renditions
from app.uploads.backlog import Backlog
from app.uploads.intake import Intake
from app.uploads.memory_budget import MemoryBudget
from app.uploads.zip_stream import ZipUnpacker
from app.worker.custom_models import CustomModels
from app.worker.dispatch import Backend, Dispatch
from app.worker.model_settings import ModelSettings

if TYPE_CHECKING:
    from app.outbound.image_download import ImageDownloader

MAX_ROWS: Final = 64
READY_SECONDS: Final = 1.0
"""How long a response of /ready stays valid."""

TabularKey = tuple[str, str, tuple[tuple[float, ...], ...]]
"""Name and version of a model, and the rows of a request."""


@dataclass(frozen=True, slots=True)
class AppState:
    """What the lifespan creates. Routes and helpers read what they need."""

    settings: Settings
    storage: Storage
    registry: Registry
    dispatch: Dispatch
    notifications: NotificationListener
    custom: CustomModels
    model_settings: ModelSettings
    renderer: Renderer
    renditions: Renditions
    backlog: Backlog
    intake: Intake
    unpacker: ZipUnpacker
    upload_budget: MemoryBudget
    batch_budget: MemoryBudget
    """Of batches, which may take their time."""
    rendering_budget: MemoryBudget
    """Of stored images that are rendered."""
    get_prediction: Batcher[int, Prediction]
    tabular_cache: TTLCache[TabularKey, list[list[LabelScore]]]
    """Recent results of tabular models; its size counts rows."""
    readiness: TTLCache[str, Ready]
    """The last response of /ready."""

    def read(self, row: Prediction) -> PredictionRead:
        """A prediction as the API describes it."""
        return PredictionRead.from_row(row, self.model_settings.calibrated_confidence(row))


def make_state(
    settings: Settings,
    storage: Storage,
    backend: Backend,
    backlog: Backlog,
    inspectors: Inspectors,
    renderer: Renderer,
    renditions: Renditions,
) -> AppState:
    """Create the state around a running backend."""
    budget = max(settings.max_receiving_bytes, settings.max_upload_bytes)
    return AppState(
        settings,
        storage,
        backend.registry,
        backend.dispatch,
        backend.notifications,
        backend.custom,
        backend.model_settings,
        renderer,
        renditions,
        backlog,
        intake=Intake(
            settings,
            storage,
            backend.dispatch,
            backlog,
            _downloader(settings),
            inspectors,
            backend.notifications.process_lock,
        ),
        unpacker=ZipUnpacker(),
        # The largest upload must fit.
        upload_budget=MemoryBudget(max(budget, settings.max_upload_bytes + MULTIPART_OVERHEAD)),
        batch_budget=MemoryBudget(budget),
        rendering_budget=MemoryBudget(budget),
        get_prediction=Batcher(predictions.get_all, max_items=MAX_ROWS),
        tabular_cache=TTLCache(settings.predict_cache_rows, settings.predict_cache_seconds, getsizeof=len),
        readiness=TTLCache(1, READY_SECONDS),
    )


def _downloader(settings: Settings) -> "ImageDownloader | None":
    if settings.image_url == "off":
        return None
    # An HTTP client takes 10 MB and 0.1 s, which most installations can save.
    from app.outbound.image_download import ImageDownloader

    return ImageDownloader(from_private=settings.image_url == "any")


async def app_state(request: Request) -> AppState:
    """The application's state. A dependency, and callable."""
    # Asynchronous, because FastAPI would call a plain function in a thread for every request.
    state = request.state.app_state
    assert isinstance(state, AppState)
    return state


async def current_caller(request: Request) -> Caller:
    """Who sent the request, as the authentication middleware found out. A dependency, and callable."""
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller


async def own_prediction(request: Request) -> None:
    """A dependency of routes that callers may use for their own predictions only.

    Raises PredictionNotFound if this one is another's, or DatabaseUnavailable.
    """
    caller = await current_caller(request)
    number = request.path_params["id"]
    # The route itself rejects anything else.
    if caller.reads_only_own and number.isdecimal() and number.isascii():
        prediction = await (await app_state(request)).get_prediction(int(number[:20]))
        if prediction.key_id != caller.key_id:
            raise PredictionNotFound


OwnPrediction: Final = Depends(own_prediction)
State = Annotated[AppState, Depends(app_state)]
CurrentCaller = Annotated[Caller, Depends(current_caller)]
