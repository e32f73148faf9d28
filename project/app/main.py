"""The web application: ``create_application(settings)``, and ``app.main:app`` for uvicorn."""

import gc
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final, TypedDict

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app import __version__, keys, tracing
from app.api import batches, events, export, exposition, images, models, ping, predict, predictions, uploads
from app.api.body_limit import BodyLimitMiddleware
from app.api.deps import Runtime, make_runtime
from app.api.description import describe
from app.api.errors import add_error_handlers
from app.api.guard import AuthMiddleware, is_loopback
from app.api.head import HeadMiddleware
from app.api.meter import RateLimiter
from app.api.observed import RequestLogMiddleware
from app.api.security_headers import SecurityHeadersMiddleware
from app.api.slashes import accept_both_slashes
from app.api.startup_errors import StartupErrorMiddleware
from app.backlog import Backlog
from app.config import Settings
from app.dispatch import Running
from app.domain import DatabaseUnavailable, StartupError
from app.log_events import KEYS_MISSING
from app.pages import catalog, classify, figures, history, sessions
from app.pages.rendering import add_static_files
from app.storage import Storage, make_storage

log = logging.getLogger(__name__)

COLLECT_AFTER: Final = (20_000, 50, 100)
"""New objects, and younger collections, after which Python looks for garbage of each age; its own are 700, 10, 10."""

DESCRIPTION = """
Upload an image, get an ID immediately, and MobileNetV2's five best labels a moment later.

Every path works with and without a trailing slash. Errors are problem documents (RFC 9457) whose `detail` is a plain
sentence; requests that do not match their schema get 422 and a list of errors.
"""


class State(TypedDict):
    """What the lifespan gives to every request."""

    runtime: Runtime


def create_application(settings: Settings) -> FastAPI:
    """Build the application; nothing is started before its lifespan begins."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        storage = make_storage(settings)
        await storage.prepare()
        backlog = Backlog(settings.max_pending)
        async with (
            tracing.sending(settings.traces_url),
            _dispatching(settings, storage) as beside,
            backlog.watched(),
        ):
            await _check_keys(settings)
            # What was made until now stays: looking through it for garbage again and again holds requests up.
            gc.freeze()
            # Nearly all that requests leave behind goes without it; looked for less often, uploads are 1.3 % faster.
            gc.set_threshold(*COLLECT_AFTER)
            yield State(runtime=make_runtime(settings, storage, beside, backlog))

    # Swagger UI and ReDoc from a package instead of a CDN: they work without the internet.
    app = FastAPIOffline(
        title="Image classifier", description=DESCRIPTION, version=__version__, lifespan=lifespan, debug=False
    )
    app.add_middleware(
        BodyLimitMiddleware, max_bytes=settings.max_upload_bytes, max_batch_bytes=settings.max_batch_bytes
    )
    app.add_middleware(AuthMiddleware, allow_anonymous=settings.allow_anonymous, meter=RateLimiter(settings))
    app.add_middleware(HeadMiddleware)
    app.add_middleware(RequestLogMiddleware)
    app.add_middleware(SecurityHeadersMiddleware)
    app.add_middleware(StartupErrorMiddleware)
    add_error_handlers(app)
    accept_both_slashes(app)
    app.include_router(uploads.router)
    app.include_router(batches.router)
    app.include_router(events.router)
    app.include_router(images.router)
    app.include_router(export.router)
    app.include_router(predictions.router)
    app.include_router(predict.router)
    app.include_router(models.router)
    app.include_router(ping.router)
    app.include_router(exposition.router)

    for router in (classify.router, history.router, catalog.router, figures.router, sessions.router):
        app.include_router(router)
    add_static_files(app)
    describe(app)
    return app


async def _check_keys(settings: Settings) -> None:
    """Raises StartupError where others can reach the service, and it neither has keys nor is to be open to all."""
    here = is_loopback(settings.host)
    if settings.allow_anonymous or (settings.allow_anonymous is None and here):
        return
    # Where the database is away, or has no tables yet, nobody is let in before it has.
    with suppress(DatabaseUnavailable):
        if await keys.any_valid():
            return
        make = "create one with `./classifier keys create NAME`"
        if not here:
            raise StartupError(
                f"HOST={settings.host} is reachable by others, and there are no API keys: {make}, "
                "or set ALLOW_ANONYMOUS=1 to allow requests without a key."
            )
        log.warning(KEYS_MISSING, make)


def _dispatching(settings: Settings, storage: Storage) -> AbstractAsyncContextManager[Running]:
    """Only what is used is imported: neither PgQueuer nor the engine is needed by the other."""
    if settings.queue == "local":
        from app.dispatch.local import local_dispatch

        return local_dispatch(settings, storage)
    from app.dispatch.queued import queued_dispatch

    return queued_dispatch(settings, storage)


def __getattr__(name: str) -> Any:
    """``app``, made from the environment when a server asks for it; importing this module does nothing."""
    if name != "app":
        raise AttributeError(name)
    return create_application(Settings())
