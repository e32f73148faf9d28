"""Request middleware: ID, duration, access log, metrics."""

import logging
import re
import time
import uuid
from http import HTTPStatus
from typing import Final

from fastapi.routing import iter_route_contexts
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import unexpected_problem
from app.domain import ANYBODY
from app.observability import metrics, timing, tracing
from app.observability.log_context import log_fields
from app.observability.log_events import REQUEST, REQUEST_ERROR

log = logging.getLogger(__name__)

REQUEST_ID: Final = re.compile(rb"(?!ic_)[A-Za-z0-9._:/+=@-]{1,128}")
"""Request IDs accepted from clients. Others could be more than an ID, and one with the prefix ic_ could be an API key.
"""
UNMATCHED_ROUTE: Final = "elsewhere"
"""Reported instead of unknown paths, because clients could make up any number of them."""
STATIC_PREFIXES: Final = ("/static", "/static-offline-docs")
METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
OTHER: Final = "other"
FREQUENT_ROUTES: Final = frozenset((*STATIC_PREFIXES, "/predictions/{id}/image/"))
"""Static files and thumbnails, dozens for each page: logged at DEBUG unless they fail."""
CLOSED: Final = 499
"""Status of a request without a response: its client disconnected, or the service stopped."""


Routes = list[tuple[str, re.Pattern[str]]]
"""Patterns of paths, such as ``/predictions/{id}/``, with their regular expressions."""


class RequestLogMiddleware:
    """ASGI middleware around authentication and the application; security headers are outside it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._routes: Routes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record it once it has been answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        with (
            timing.collect_stages() as stages,
            log_fields(request_id=request_id),
            tracing.request(Headers(scope=scope), scope["method"]) as span,
        ):
            exchange = _Exchange(request_id, stages, scope, span, self._known_routes(scope))
            receiving, sending = exchange.receiving(receive), exchange.sending(send)
            try:
                await self._app(scope, receiving, sending)
            except Exception:
                # Logged here because the request's ID is known, which it is not outside the application.
                log.exception(REQUEST_ERROR)
                if exchange.has_started:
                    raise
                await unexpected_problem()(scope, receiving, sending)
            finally:
                exchange.finish()

    def _known_routes(self, scope: Scope) -> Routes:
        # On first use, because routes are added after the middleware.
        if self._routes is None:
            self._routes = _patterns(scope["app"])
        return self._routes


class _Exchange:
    """A request and its response. It ends with the response's last byte: background tasks are not part of it."""

    def __init__(
        self, request_id: str, stages: dict[str, float], scope: Scope, span: tracing.RequestSpan, routes: Routes
    ) -> None:
        self._request_id = request_id
        self._stages = stages
        self._scope = scope
        self._method = scope["method"] if scope["method"] in METHODS else OTHER
        self._path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
        self._span = span
        self._routes = routes
        self._started_at = time.perf_counter()
        self._received = self._sent = 0
        self._status = CLOSED
        self._is_finished = False

    @property
    def has_started(self) -> bool:
        """Whether the response has started."""
        return self._status != CLOSED

    def receiving(self, receive: Receive) -> Receive:
        """Count received bytes."""

        async def counting() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                self._received += len(message.get("body", b""))
            return message

        return counting

    def sending(self, send: Send) -> Send:
        """Count sent bytes and add headers about the request."""

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), *self._headers()]}
            elif message["type"] == "http.response.body":
                self._sent += len(message.get("body", b""))
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self.finish()

        return counting

    def _headers(self) -> list[tuple[bytes, bytes]]:
        seconds = time.perf_counter() - self._started_at
        parts = [f"{name};dur={1000 * took:.1f}" for name, took in self._stages.items()]
        return [
            (b"x-request-id", self._request_id.encode()),
            (b"x-process-time", b"%.4f" % seconds),
            (b"server-timing", ", ".join([*parts, f"total;dur={1000 * seconds:.1f}"]).encode()),
        ]

    def finish(self) -> None:
        """Record the request, once."""
        if self._is_finished:
            return
        self._is_finished = True
        seconds = time.perf_counter() - self._started_at
        method, route = self._method, _route_of(self._scope, self._path, self._routes)
        metrics.REQUESTS.labels(method, route, self._status).inc()
        metrics.REQUEST_SECONDS.labels(route).observe(seconds)
        self._span.record_response(method, route, self._status)
        caller = self._scope.get("state", {}).get("caller", ANYBODY)
        client = (self._scope.get("client") or ("",))[0]
        extra = {"bytes_in": self._received, "bytes_out": self._sent, "key_id": caller.key_id, "client": client}
        is_frequent = route in FREQUENT_ROUTES and self._status < HTTPStatus.BAD_REQUEST
        level = logging.DEBUG if is_frequent else logging.INFO
        log.log(level, REQUEST, method, route, self._status, round(1000 * seconds, 1), extra=extra)


def _route_of(scope: Scope, path: str, routes: Routes) -> str:
    """The path's pattern, such as ``/predictions/{id}/``, also for requests rejected before routing."""
    if (route := scope.get("route")) is not None:
        return str(route.path)
    if prefix := next((prefix for prefix in STATIC_PREFIXES if path.startswith(f"{prefix}/")), None):
        return prefix
    return next((pattern for pattern, known in routes if known.fullmatch(path)), UNMATCHED_ROUTE)


def _patterns(app: Starlette) -> Routes:
    """The paths that an application knows, with and without their last slash; those with no parameters first."""
    contexts = iter_route_contexts(app.routes)
    paths = sorted({context.path for context in contexts if context.path}, key=lambda path: ("{" in path, path))
    return [(path, re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path.rstrip("/"))) + "/?")) for path in paths]


def new_request_id() -> str:
    """A new, unique request ID."""
    return uuid.uuid4().hex


def log_malformed_request(request_id: str, client: str, status: HTTPStatus, sent: int) -> None:
    """Record bytes that could not be parsed as a request; ``client``: its network address."""
    metrics.REQUESTS.labels(OTHER, UNMATCHED_ROUTE, status.value).inc()
    extra = {"request_id": request_id, "bytes_out": sent, "key_id": ANYBODY.key_id, "client": client}
    log.info(REQUEST, OTHER, UNMATCHED_ROUTE, status.value, 0.0, extra=extra)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return new_request_id()
