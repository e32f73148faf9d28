"""The web application: ``create_application(settings)``, and ``app.main:app`` for uvicorn."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from typing import Any, Final, TypedDict

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from app import __version__
from app.api import (
    accuracy,
    aliases,
    batches,
    confidence,
    custom_models,
    events,
    examples,
    export,
    images,
    labelled,
    metrics,
    models,
    ping,
    predictions,
    reviews,
    shadow,
    similar,
    tabular,
    uploads,
)
from app.api.deps import AppState, make_state
from app.api.errors import add_error_handlers
from app.api.middleware.anonymous import AnonymousAccess, allows_anonymous
from app.api.middleware.auth import AuthMiddleware
from app.api.middleware.body_limit import BodyLimitMiddleware
from app.api.middleware.head import HeadMiddleware
from app.api.middleware.proxy import ProxyMiddleware
from app.api.middleware.rate_limit import RateLimiter
from app.api.middleware.request_log import RequestLogMiddleware
from app.api.middleware.security_headers import SecurityHeadersMiddleware
from app.api.middleware.startup_errors import StartupErrorMiddleware
from app.api.middleware.trailing_slash import accept_both_slashes
from app.api.openapi import TAGS, complete_openapi
from app.classifier.engine.inspectors import Inspectors
from app.classifier.engine.process import Engine
from app.classifier.engine.renderer import Renderer
from app.classifier.engine.startup import engine_config
from app.config import Settings
from app.db.crud import api_keys
from app.domain import DatabaseUnavailable, StartupError
from app.observability import tracing
from app.observability.log_events import KEYS_MISSING
from app.observability.task_errors import log_errors
from app.outbound.addresses import is_loopback
from app.pages import accuracy as accuracy_pages
from app.pages import classify, comparison, gallery, label_names, selection, sign_in, statistics, teaching
from app.pages import keys as key_pages
from app.pages import models as model_pages
from app.pages import reviews as review_pages
from app.pages.error_middleware import ErrorPageMiddleware
from app.pages.rendering import add_static_files
from app.storage import Storage, make_storage
from app.storage.renditions import Renditions
from app.uploads.backlog import Backlog
from app.worker.dispatch import Backend

log = logging.getLogger(__name__)

DESCRIPTION = """
Upload an image, get an ID immediately, and MobileNetV2's five best labels a moment later.

Every path works with and without a trailing slash. Errors are problem documents (RFC 9457) whose `detail` is a plain
sentence; requests that do not match their schema get 422 and a list of errors.
"""


class LifespanState(TypedDict):
    """What the lifespan passes to every request."""

    app_state: AppState


ENVIRONMENT_KEY_SECONDS: Final = 5.0
CORS_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
CORS_HEADERS: Final = ("Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "Prefer", "X-Request-ID")
CORS_EXPOSED: Final = (
    *("ETag", "Idempotency-Replayed", "Link", "Location", "Preference-Applied", "RateLimit", "RateLimit-Policy"),
    *("Retry-After", "Server-Timing", "X-Request-ID"),
)
"""Response headers that other origins' scripts may read, besides the usual ones."""


def create_application(
    settings: Settings,
    engine: Engine | None = None,
    *,
    running_inspectors: Inspectors | None = None,
    running_renderer: Renderer | None = None,
) -> FastAPI:
    """Build the application; nothing is started before its lifespan begins.

    ``engine``, ``running_inspectors``, ``running_renderer``: running ones to use instead of starting others. Their
    configuration has to be that of the settings; another engine's is noticed, and it is not used.
    """
    anonymous = AnonymousAccess(settings.anonymous, settings.allowed_host_names)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[LifespanState]:
        storage = make_storage(settings)
        await storage.prepare()
        backlog = Backlog(settings.max_pending)
        config, renditions = engine_config(settings, None), Renditions(settings)
        inspectors = running_inspectors or Inspectors(config, settings.max_upload_bytes, settings.max_image_pixels)
        renderer = running_renderer or Renderer(config)
        async with (
            tracing.sending(settings.traces_url),
            _dispatching(settings, storage, engine) as backend,
            backlog.measured(),
            nullcontext() if running_inspectors else inspectors.running(),
            nullcontext() if running_renderer else renderer.running(),
            renditions.running(),
            AsyncExitStack() as stack,
        ):
            await stack.enter_async_context(_environment_key(settings))
            await _check_keys(settings)
            await anonymous.refresh()
            yield LifespanState(
                app_state=make_state(settings, storage, backend, backlog, inspectors, renderer, renditions)
            )

    # Serves Swagger UI and ReDoc from a package instead of a CDN, so that they work without the internet.
    app = FastAPIOffline(
        title="Image classifier",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        version=__version__,
        lifespan=lifespan,
        debug=False,
    )
    _add_middleware(app, settings, anonymous)
    add_error_handlers(app)
    accept_both_slashes(app)
    modules = (
        *(uploads, batches, events, images, export, reviews, accuracy, labelled, similar, predictions, tabular, models),
        *(confidence, shadow, custom_models, examples, ping, metrics, aliases),
    )
    pages = (
        classify,
        accuracy_pages,
        label_names,
        gallery,
        selection,
        comparison,
        model_pages,
        review_pages,
        teaching,
        statistics,
        key_pages,
        sign_in,
    )
    routers = [*(module.router for module in modules), classify.alias_router, *(module.router for module in pages)]
    # Not include_router(), which builds every route again: 0.1 s of each start.
    app.router.routes[:0] = [uploads.UploadRoute()]
    app.router.routes += [route for router in routers for route in router.routes]
    add_static_files(app)
    _check_root(app, settings.root)
    complete_openapi(app)
    return app


def _add_middleware(app: FastAPI, settings: Settings, anonymous: AnonymousAccess) -> None:
    """Add the middleware. Each one wraps those before it, so requests pass them from the last to the first."""
    app.add_middleware(
        BodyLimitMiddleware, max_bytes=settings.max_upload_bytes, max_batch_bytes=settings.max_batch_bytes
    )
    app.add_middleware(
        AuthMiddleware,
        anonymous=anonymous,
        rate_limiter=RateLimiter(settings),
        origins=settings.cors_origin_names,
    )
    app.add_middleware(HeadMiddleware)
    if origins := settings.cors_origin_names:
        # Around authentication: preflights carry no key.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sorted(origins),
            allow_methods=CORS_METHODS,
            allow_headers=CORS_HEADERS,
            expose_headers=CORS_EXPOSED,
        )
    app.add_middleware(RequestLogMiddleware)
    app.add_middleware(ErrorPageMiddleware)
    app.add_middleware(SecurityHeadersMiddleware, hsts=settings.hsts)
    app.add_middleware(StartupErrorMiddleware)
    app.add_middleware(
        ProxyMiddleware,
        trusted_proxies=settings.trusted_proxies,
        root_path=settings.root,
        public_url=settings.public_url,
    )


def _check_root(app: FastAPI, root: str) -> None:
    """Raises StartupError if a request's path would not tell whether the proxy has removed the prefix."""
    first = root.split("/")[1] if root else ""
    if first in {context.path.split("/")[1] for context in iter_route_contexts(app.routes) if context.path} - {""}:
        raise StartupError(f"ROOT_PATH must not begin with /{first}, which is a path of the service: use another name.")


async def _check_keys(settings: Settings) -> None:
    """Raises StartupError if others can reach a service that has no keys and does not allow anonymous requests."""
    if settings.api_key or allows_anonymous(settings.anonymous, settings.host):
        return
    # While the database is unavailable or has no tables, every request is rejected anyway.
    with suppress(DatabaseUnavailable):
        if await api_keys.any_valid():
            return
        remedy = "create one with `./classifier keys create NAME`"
        if not is_loopback(settings.host):
            raise StartupError(
                f"HOST={settings.host} is reachable by others, and there are no API keys: {remedy}, "
                "or set ALLOW_ANONYMOUS=1 to allow requests without a key."
            )
        log.warning(KEYS_MISSING, remedy)


@asynccontextmanager
async def _environment_key(settings: Settings) -> AsyncIterator[None]:
    """Make API_KEY valid, or the one of an earlier start invalid; later, if the database is not available now."""
    key = settings.api_key.get_secret_value() if settings.api_key else None

    async def store() -> None:
        while True:
            try:
                await api_keys.set_environment_key(key)
            except DatabaseUnavailable:
                await asyncio.sleep(ENVIRONMENT_KEY_SECONDS)
            else:
                return

    task = asyncio.create_task(store())
    try:
        await asyncio.wait([task], timeout=ENVIRONMENT_KEY_SECONDS)
        if task.done():
            task.result()
        yield
    finally:
        task.cancel()
        with log_errors("Storing API_KEY"), suppress(asyncio.CancelledError):
            await task


def _dispatching(settings: Settings, storage: Storage, engine: Engine | None) -> AbstractAsyncContextManager[Backend]:
    """Imports only what is used: neither PgQueuer nor the local worker is needed by the other."""
    if settings.queue == "local":
        from app.worker.dispatch_local import local_dispatch

        return local_dispatch(settings, storage, engine)
    from app.worker.dispatch_queued import queued_dispatch

    return queued_dispatch(settings, storage)


def __getattr__(name: str) -> Any:
    """``app``, built from the environment on access; importing this module has no effects."""
    if name != "app":
        raise AttributeError(name)
    return create_application(Settings())
