"""Authentication and authorization, before anything of a request is read."""

import ipaddress
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import quote, urlsplit

from cachetools import TTLCache
from fastapi import Response
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from app import keys
from app.api.accepts import wants_html
from app.api.early import EarlyResponse
from app.api.errors import service_problem
from app.api.meter import RateLimiter, subject_of
from app.domain import ANYBODY, Caller, CrossSite, KeyNeeded, KeyRefused, Scope, ScopeMissing, ServiceError

COOKIE: Final = "image_classifier_session"
SIGN_IN: Final = "/sign-in"
SIGN_OUT: Final = "/sign-out"
OPEN: Final = ("/ping", "/health", "/ready", "/docs", "/redoc", "/openapi.json", SIGN_IN, SIGN_OUT)
OPEN_BELOW: Final = ("/static/", "/static-offline-docs/")
"""Paths that need no key: health checks, the documentation, and the sign-in page with its files."""
SAFE: Final = {"GET", "HEAD", "OPTIONS"}
CALLER_CACHE_SECONDS: Final = 1.0
"""How long a process trusts a key without querying the database again; a revoked key may be used until then."""
MAX_CACHED_CALLERS: Final = 10_000


class AuthMiddleware:
    """ASGI middleware: requires a key where needed, and stores the caller in the request's state."""

    def __init__(self, app: ASGIApp, allow_anonymous: bool | None, meter: RateLimiter) -> None:
        """``allow_anonymous``: allow all requests without a key; None: on loopback addresses only."""
        self._app = app
        self._allow_anonymous = allow_anonymous
        self._meter = meter
        self._remembered: TTLCache[tuple[str, str], Caller] = TTLCache(MAX_CACHED_CALLERS, CALLER_CACHE_SECONDS)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Pass the request on, or reject it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        with ExitStack() as uploading:
            try:
                headers = await self._authorize(request, uploading)
            except ServiceError as error:
                await self._refusal(request, error)(scope, receive, send)
                return

            async def send_with_limits(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message["headers"], *headers]}
                await send(message)

            await self._app(scope, receive, send_with_limits if headers else send)

    async def _authorize(self, request: Request, uploading: ExitStack) -> list[tuple[bytes, bytes]]:
        """Authorize and count a request; returns the rate-limit headers for the response."""
        path = path_of(request.scope)
        try:
            caller = await self._admitted(request, path)
        except KeyRefused:
            # Failed keys count against the address, so that keys cannot be guessed faster than requests are allowed.
            await self._meter.admit(request, subject_of(request, None))
            raise
        request.scope.setdefault("state", {})["caller"] = caller
        if _is_open(path) and request.method in SAFE:
            return []
        subject = subject_of(request, caller)
        uploading.enter_context(self._meter.uploading(request, subject))
        return await self._meter.admit(request, subject)

    def _refusal(self, request: Request, error: ServiceError) -> Response:
        if isinstance(error, KeyNeeded | KeyRefused) and request.method == "GET" and wants_html(request):
            return _to_sign_in(request, path_of(request.scope))
        return EarlyResponse.of(service_problem(error))

    async def _admitted(self, request: Request, path: str) -> Caller:
        changes = request.method not in SAFE
        key, cookie = _key(request.headers), _cookie(request)
        if changes and not key:
            _check_site(request, signed_in=bool(cookie))
        if _is_open(path):
            return ANYBODY
        if key:
            caller = await self._known("key", key, keys.of_key)
        elif self._is_open(request):
            return ANYBODY
        elif cookie:
            caller = await self._known("session", cookie, keys.of_session)
        else:
            raise KeyNeeded
        needed = Scope.WRITE if changes else Scope.READ
        if not caller.may(needed):
            raise ScopeMissing(f"The API key does not have the scope {needed}.")
        return caller

    async def _known(self, kind: str, secret: str, look: Callable[[str], Awaitable[Caller]]) -> Caller:
        caller = self._remembered.get((kind, secret))
        if caller is None:
            caller = self._remembered[kind, secret] = await look(secret)
        return caller

    def _is_open(self, request: Request) -> bool:
        if self._allow_anonymous is not None:
            return self._allow_anonymous
        return is_loopback((request.scope.get("server") or ("", 0))[0])


def is_loopback(host: str) -> bool:
    """Whether a host name or address is only reachable from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_open(path: str) -> bool:
    return path.rstrip("/") in OPEN or path.startswith(OPEN_BELOW)


def path_of(scope: AsgiScope) -> str:
    """The path without a proxy's prefix."""
    return str(scope["path"]).removeprefix(scope.get("root_path", "")) or "/"


def _key(headers: Headers) -> str:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return headers.get("x-api-key", "") or (given.strip() if scheme.lower() == "bearer" else "")


def _cookie(request: Request) -> str:
    try:
        found = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _check_site(request: Request, *, signed_in: bool) -> None:
    """Raises CrossSite if another site's page made the browser send a request that changes something."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        others = site != "same-origin" and (signed_in or site != "none")
    elif origin is not None:
        # Browsers before 2023, or without TLS, send Origin with every form and script that changes something.
        others = urlsplit(origin).netloc != request.headers.get("host")
    else:
        others = signed_in
    if others:
        raise CrossSite


def _to_sign_in(request: Request, path: str) -> Response:
    root = request.scope.get("root_path", "")
    query = f"?{request.url.query}" if request.url.query else ""
    where = "" if path == "/" and not query else f"?next={quote(path + query, safe='')}"
    return RedirectResponse(f"{root}{SIGN_IN}{where}", HTTPStatus.SEE_OTHER)
