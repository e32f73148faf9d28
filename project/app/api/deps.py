"""What the routes need of the running application, typed."""

import asyncio
import hashlib
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, Final

from cachetools import TTLCache
from fastapi import Depends, Request

from app import crud, imaging
from app.coalescing import Coalescer
from app.config import Settings
from app.domain import ImageInfo, ImageTooLarge, LabelScore, NotAnImage, ServiceError
from app.engine import Engine
from app.models.tortoise import Prediction
from app.registry import Registry
from app.storage import Storage
from app.worker import Worker

MOST_RECEIVED: Final = 16
MOST_ROWS: Final = 64


TabularKey = tuple[str, str, tuple[tuple[float, ...], ...]]
"""Name and version of a model, and the rows it was asked about."""


@dataclass(frozen=True, slots=True)
class Received:
    """An upload that is stored: what its bytes are, their SHA-256 in hexadecimal, and the storage's key."""

    image: ImageInfo
    sha256: str
    image_path: str


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the lifespan of the application builds and the routes use.

    ``receive``, ``create`` and ``get`` do together what requests want at the same time: one thread, one statement.
    """

    settings: Settings
    storage: Storage
    registry: Registry
    engine: Engine
    worker: Worker
    receive: Coalescer[bytes, Received]
    create: Coalescer[crud.NewPrediction, Prediction]
    get: Coalescer[int, Prediction]
    tabular_cache: TTLCache[TabularKey, list[list[LabelScore]]]
    """What tabular models answered lately; its size counts rows."""


def make_runtime(settings: Settings, storage: Storage, registry: Registry, engine: Engine, worker: Worker) -> Runtime:
    """Put together what the lifespan built."""

    def receive(uploads: list[bytes]) -> Awaitable[list[Received | ServiceError]]:
        return asyncio.to_thread(_receive_all, storage, settings.max_image_pixels, uploads)

    return Runtime(
        settings,
        storage,
        registry,
        engine,
        worker,
        receive=Coalescer(receive, most=MOST_RECEIVED),
        create=Coalescer(crud.create_all, most=MOST_ROWS),
        get=Coalescer(crud.get_all, most=MOST_ROWS),
        tabular_cache=TTLCache(settings.predict_cache_rows, settings.predict_cache_seconds, getsizeof=len),
    )


async def check_models(engine: Engine, registry: Registry) -> None:
    """Look at the folder of models again, and learn which of those that are new cannot be loaded."""
    await asyncio.to_thread(registry.scan)
    await asyncio.to_thread(registry.check, "tabular")
    registry.leave_out(await engine.check())


def _receive_all(storage: Storage, max_pixels: int, uploads: list[bytes]) -> list[Received | ServiceError]:
    """Look at uploads and store those that are images; an error each for the others."""
    looks = [_inspect(data, max_pixels) for data in uploads]
    images = [(data, look.extension) for data, look in zip(uploads, looks, strict=True) if isinstance(look, ImageInfo)]
    keys = iter(storage.put_all(images))
    return [
        _received(data, look, next(keys)) if isinstance(look, ImageInfo) else look
        for data, look in zip(uploads, looks, strict=True)
    ]


def _received(data: bytes, image: ImageInfo, key: str | ServiceError) -> Received | ServiceError:
    return key if isinstance(key, ServiceError) else Received(image, hashlib.sha256(data).hexdigest(), key)


def _inspect(data: bytes, max_pixels: int) -> ImageInfo | ServiceError:
    try:
        return imaging.inspect(data, max_pixels)
    except (NotAnImage, ImageTooLarge) as error:
        return error


async def running(request: Request) -> Runtime:
    """What the lifespan built. A dependency, and callable."""
    # Not a plain function, which FastAPI would call in a thread, at every request.
    runtime = request.state.runtime
    assert isinstance(runtime, Runtime)
    return runtime


Running = Annotated[Runtime, Depends(running)]
