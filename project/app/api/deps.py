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
from app.api.receiving import Room
from app.backlog import Backlog
from app.coalescing import Coalescer
from app.config import Settings
from app.domain import Caller, ImageInfo, ImageTooLarge, LabelScore, NotAnImage, ServiceError
from app.engine import Engine
from app.models.tortoise import Prediction
from app.notices import Notices
from app.quotas import Quotas
from app.registry import Registry
from app.storage import Storage

if TYPE_CHECKING:
    from app.fetching import Fetcher

MOST_RECEIVED: Final = 16
MOST_ROWS: Final = 64


TabularKey = tuple[str, str, tuple[tuple[float, ...], ...]]
"""Name and version of a model, and the rows it was asked about."""


@dataclass(frozen=True, slots=True)
class Inspected:
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
    notices: Notices
    backlog: Backlog
    engine: Engine
    room: Room
    fetched_room: Room
    """Of images that are fetched: apart, so that servers that send slowly hold up no uploads."""
    shown_room: Room
    """Of stored images that are made into others, to be looked at."""
    batch_room: Room
    """Of batches, which may take their time."""
    quotas: Quotas
    fetcher: "Fetcher | None"
    """None where no images are fetched."""
    inspect: Coalescer[bytes, Inspected]
    get: Coalescer[int, Prediction]
    known: Coalescer[tuple[str, str, str], crud.Attempt | None]
    tabular_cache: TTLCache[TabularKey, list[list[LabelScore]]]
    """What tabular models answered lately; its size counts rows."""


def make_runtime(settings: Settings, storage: Storage, beside: dispatch.Running, backlog: Backlog) -> Runtime:
    """Put together what the lifespan built."""

    def inspect(uploads: list[bytes]) -> Awaitable[list[Inspected | ServiceError]]:
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
        room=Room(max(settings.max_receiving_bytes, settings.max_upload_bytes + MULTIPART_OVERHEAD)),
        fetched_room=Room(max(settings.max_receiving_bytes, settings.max_upload_bytes)),
        shown_room=Room(max(settings.max_receiving_bytes, settings.max_upload_bytes)),
        batch_room=Room(max(settings.max_receiving_bytes, settings.max_upload_bytes)),
        quotas=Quotas(settings.quota_bytes),
        fetcher=_fetcher(settings),
        inspect=Coalescer(inspect, most=MOST_RECEIVED),
        get=Coalescer(crud.get_all, most=MOST_ROWS),
        known=Coalescer(crud.known_answers, most=MOST_ROWS),
        tabular_cache=TTLCache(settings.predict_cache_rows, settings.predict_cache_seconds, getsizeof=len),
    )


def _fetcher(settings: Settings) -> "Fetcher | None":
    if settings.image_url == "off":
        return None
    # An HTTP client takes 10 MB and a tenth of a second, which most services can do without.
    from app.fetching import Fetcher

    return Fetcher(from_private=settings.image_url == "any")


def _inspected(data: bytes, settings: Settings) -> Inspected | ServiceError:
    try:
        image = imaging.inspect(data, settings.max_image_pixels)
        kept = data if settings.keep_originals else imaging.without_metadata(data, image)
        return Inspected(image, hashlib.sha256(data).hexdigest(), kept)
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
