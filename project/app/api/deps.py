"""What the routes need of the running application, typed."""

import asyncio
import hashlib
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from cachetools import TTLCache
from fastapi import Depends, Request

from app import crud, dispatch, imaging
from app.api.body_limit import MULTIPART_OVERHEAD
from app.api.receiving import MemoryBudget
from app.backlog import Backlog
from app.coalescing import Batcher
from app.config import Settings
from app.domain import Caller, ImageInfo, ImageTooLarge, LabelScore, NotAnImage, ServiceError
from app.engine import Engine
from app.models.tortoise import Prediction
from app.notices import NotificationListener
from app.quotas import Quotas
from app.registry import Registry
from app.storage import Storage

if TYPE_CHECKING:
    from app.fetching import Fetcher

MAX_INSPECTED: Final = 16
MAX_ROWS: Final = 64


TabularKey = tuple[str, str, tuple[tuple[float, ...], ...]]
"""Name and version of a model, and the rows it was asked about."""


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """What the bytes of an upload are, their SHA-256 in hexadecimal, and what of them is stored."""

    image: ImageInfo
    sha256: str
    kept: bytes


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the lifespan of the application builds and the routes use.

    ``inspect``, ``get`` and ``known`` do together what requests want at the same time: one thread, one statement.
    """

    settings: Settings
    storage: Storage
    registry: Registry
    dispatch: dispatch.Dispatch
    notices: NotificationListener
    backlog: Backlog
    engine: Engine
    room: MemoryBudget
    fetched_room: MemoryBudget
    """Of images that are fetched: apart, so that servers that send slowly hold up no uploads."""
    shown_room: MemoryBudget
    """Of stored images that are made into others, to be looked at."""
    batch_room: MemoryBudget
    """Of batches, which may take their time."""
    quotas: Quotas
    fetcher: "Fetcher | None"
    """None where no images are fetched."""
    inspect: Batcher[bytes, InspectedImage]
    get: Batcher[int, Prediction]
    known: Batcher[tuple[str, str, str], crud.Attempt | None]
    tabular_cache: TTLCache[TabularKey, list[list[LabelScore]]]
    """What tabular models answered lately; its size counts rows."""


def make_runtime(settings: Settings, storage: Storage, beside: dispatch.Running, backlog: Backlog) -> Runtime:
    """Put together what the lifespan built."""

    def inspect(uploads: list[bytes]) -> Awaitable[list[InspectedImage | ServiceError]]:
        return asyncio.to_thread(lambda: [_inspected(data, settings) for data in uploads])

    return Runtime(
        settings,
        storage,
        beside.registry,
        beside.dispatch,
        beside.notices,
        backlog,
        beside.engine,
        # The largest upload has to find room.
        room=MemoryBudget(max(settings.max_receiving_bytes, settings.max_upload_bytes + MULTIPART_OVERHEAD)),
        fetched_room=MemoryBudget(max(settings.max_receiving_bytes, settings.max_upload_bytes)),
        shown_room=MemoryBudget(max(settings.max_receiving_bytes, settings.max_upload_bytes)),
        batch_room=MemoryBudget(max(settings.max_receiving_bytes, settings.max_upload_bytes)),
        quotas=Quotas(settings.quota_bytes),
        fetcher=_fetcher(settings),
        inspect=Batcher(inspect, most=MAX_INSPECTED),
        get=Batcher(crud.get_all, most=MAX_ROWS),
        known=Batcher(crud.cached_results, most=MAX_ROWS),
        tabular_cache=TTLCache(settings.predict_cache_rows, settings.predict_cache_seconds, getsizeof=len),
    )


def _fetcher(settings: Settings) -> "Fetcher | None":
    if settings.image_url == "off":
        return None
    # An HTTP client takes 10 MB and a tenth of a second, which most services can do without.
    from app.fetching import Fetcher

    return Fetcher(from_private=settings.image_url == "any")


def _inspected(data: bytes, settings: Settings) -> InspectedImage | ServiceError:
    try:
        image = imaging.inspect(data, settings.max_image_pixels)
        kept = data if settings.keep_originals else imaging.strip_metadata(data, image)
        return InspectedImage(image, hashlib.sha256(data).hexdigest(), kept)
    except (NotAnImage, ImageTooLarge) as error:
        return error


async def running(request: Request) -> Runtime:
    """What the lifespan built. A dependency, and callable."""
    # Not a plain function, which FastAPI would call in a thread, at every request.
    runtime = request.state.runtime
    assert isinstance(runtime, Runtime)
    return runtime


async def caller(request: Request) -> Caller:
    """Whose request it is, as the guard found. A dependency, and callable."""
    found = request.state.caller
    assert isinstance(found, Caller)
    return found


By = Annotated[Caller, Depends(caller)]

Running = Annotated[Runtime, Depends(running)]
