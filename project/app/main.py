"""The web application: ``create_application(settings)``, and ``app.main:app`` for uvicorn."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypedDict

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool

from app import __version__
from app.api import models, ping, predict, predictions, uploads
from app.api.body_limit import BodyLimit
from app.api.deps import Runtime, make_runtime
from app.api.errors import add_error_handlers
from app.api.head import HeadAsGet
from app.api.slashes import answer_both_slashes
from app.api.startup_errors import PlainStartupErrors
from app.config import Settings
from app.db import connected, database_url
from app.domain import EngineDied, EngineFailed, ModelBroken, StartupError
from app.engine import Engine
from app.engine.checker import Checker
from app.engine.frames import Orders
from app.manifest import Model
from app.registry import MAKE_ONE, Registry, find_default
from app.storage import Storage
from app.worker import Worker

log = logging.getLogger(__name__)

DESCRIPTION = """
Upload a picture, get an id at once, have MobileNetV2's five best labels a moment later.

Every path answers with and without its trailing slash. Errors are problem documents (RFC 9457) whose `detail` is a
plain sentence; a request that does not fit its schema is answered with 422 and a list of what is wrong.
"""


class State(TypedDict):
    """What the lifespan gives to every request."""

    runtime: Runtime


def create_application(settings: Settings) -> FastAPI:
    """Build the application; nothing is started before its lifespan begins."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        registry = await run_in_threadpool(_registry, settings)
        orders = _orders(settings, registry.default)
        engine, checker = Engine(orders), Checker(orders, registry)
        storage = Storage(settings.uploads)
        storage.prepare()
        worker = Worker(engine, storage, settings.retry_policy, settings.worker_threads)
        embedded = settings.database_url is None
        async with (
            engine.running(),
            database_url(settings) as url,
            connected(url, settings),
            _loaded(engine, checker, registry, everything=settings.models_loading == "start"),
            worker.running(settings.recover_seconds, only_process=embedded),
        ):
            # What was made until now stays: looking through it for garbage again and again holds requests up.
            gc.freeze()
            yield State(runtime=make_runtime(settings, storage, registry, checker, engine, worker))

    # Swagger UI and ReDoc from a package instead of a CDN: they work without the internet.
    app = FastAPIOffline(
        title="Image classifier", description=DESCRIPTION, version=__version__, lifespan=lifespan, debug=False
    )
    app.add_middleware(BodyLimit, max_bytes=settings.max_upload_bytes)
    app.add_middleware(HeadAsGet)
    app.add_middleware(PlainStartupErrors)
    add_error_handlers(app)
    answer_both_slashes(app)
    app.include_router(uploads.router)
    app.include_router(predictions.router)
    app.include_router(predict.router)
    app.include_router(models.router)
    app.include_router(ping.router)

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("docs")

    return app


def _registry(settings: Settings) -> Registry:
    """All models of the folder. Raises StartupError where the default one is not there."""
    default, note = find_default(settings.models, settings.model, settings.model_precision)
    if note:
        log.warning("%s", note)
    return Registry(settings.models, default, note, memory_bytes=settings.models_memory_bytes)


def _orders(settings: Settings, default: Model) -> Orders:
    folder = str(settings.models.resolve())
    return Orders(
        folder, default.folder.name, settings.worker_threads, settings.models_memory_bytes, settings.log_config
    )


@asynccontextmanager
async def _loaded(engine: Engine, checker: Checker, registry: Registry, *, everything: bool) -> AsyncIterator[None]:
    """With the default model loaded, or all; which of the others cannot be is learnt beside the first requests.

    Raises StartupError where the default model cannot be loaded.
    """
    if everything:
        # Those that cannot be loaded are left out before they are met.
        await checker.look()
    others = [model for model in registry.models if model.manifest.kind == "image" and model != registry.default]
    # The default last, so that it is the last to be unloaded.
    for model in [*(others if everything else []), registry.default]:
        fault = None
        try:
            await engine.load([model.name])
        except ModelBroken as error:
            if model == registry.default:
                raise StartupError(f"{error.message} To make it again, {MAKE_ONE}.") from error
            fault = error.message
        except (EngineDied, EngineFailed) as error:
            if model == registry.default:
                raise StartupError(f"The model {model.name} cannot be loaded. To make it again, {MAKE_ONE}.") from error
            log.exception("The model %s could not be loaded at the start", model.name)
            continue
        registry.note_checked({model: fault})
    task = asyncio.create_task(checker.look())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def __getattr__(name: str) -> Any:
    """``app``, made from the environment when a server asks for it; importing this module does nothing."""
    if name != "app":
        raise AttributeError(name)
    return create_application(Settings())
