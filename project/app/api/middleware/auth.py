"""Authentication and authorization, before anything of a request is read."""

import re
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from cachetools import TTLCache
from fastapi import Response
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from app.api.early_response import EarlyResponse
from app.api.errors import service_problem
from app.api.middleware.anonymous import AnonymousAccess
from app.api.middleware.proxy import Site
from app.api.middleware.rate_limit import RateLimiter, ReceivedBytes, subject_of
from app.api.middleware.refused_keys import note_refused_key
from app.api.params import prefers_html
from app.api.rate_limit_headers import rate_limit_headers
from app.api.session_cookie import SessionCookie
from app.db.crud import api_keys
from app.domain import (
    ANYBODY,
    MAX_FILENAME,
    Caller,
    CrossSite,
    DatabaseUnavailable,
    KeyNeeded,
    KeyRefused,
    Scope,
    ScopeMissing,
    ServiceError,
)

SIGN_IN: Final = "/sign-in"
SHARE_TARGETS: Final = {"/shared", "/classifications"}
"""Where installed pages send what people share with them; the only change that a browser may request on its own."""
SIGN_OUT: Final = "/sign-out"
OPEN_PATHS: Final = ("/ping", "/health", "/ready", "/docs", "/redoc", "/openapi.json", SIGN_IN, SIGN_OUT)
OPEN_PREFIXES: Final = ("/static/", "/static-offline-docs/")
"""Paths that need no key: health checks, the documentation, and the sign-in page with its files."""
ADMIN_PATHS: Final = re.compile(
    r"/models/default|/catalog/default|/shadow|/catalog/shadow(/end)?|/(models|catalog)/[^/]+/decision"
)
"""Where changes affect everybody's uploads."""
UPLOAD_PATHS: Final = ("/predictions", "/predictions/batch")
OWN_PATHS: Final = re.compile(r"/predictions(/[0-9]+(/(image|events|deliveries))?)?/?")
SCRIPT_HEADER: Final = "x-requested-with"
"""Sent by the pages' script."""
SAFE_METHODS: Final = {"GET", "HEAD", "OPTIONS"}
CALLER_CACHE_SECONDS: Final = 1.0
"""How long a process trusts a key without querying the database again; a revoked key may be used until then."""
MAX_CACHED_CALLERS: Final = 10_000


class AuthMiddleware:
    """ASGI middleware: requires a key where needed, and stores the caller in the request's state."""

    def __init__(
        self, app: ASGIApp, anonymous: AnonymousAccess, rate_limiter: RateLimiter, origins: frozenset[str]
    ) -> None:
        """``origins``: of pages whose scripts may use the API."""
        self._app = app
        self._anonymous = anonymous
        self._rate_limiter = rate_limiter
        self._origins = origins
        self._session_cookie = SessionCookie()
        self._callers: TTLCache[tuple[str, str], Caller] = TTLCache(MAX_CACHED_CALLERS, CALLER_CACHE_SECONDS)

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
                await self._rejection(request, error)(scope, receive, send)
                return
            if headers:
                await self._pass_on_counted(request, headers, receive, send)
            else:
                await self._app(scope, receive, send)

    async def _pass_on_counted(
        self, request: Request, headers: list[tuple[bytes, bytes]], receive: Receive, send: Send
    ) -> None:
        """Add the rate-limit headers to the response, and count the bytes that really arrive."""
        received = request.scope["state"]["received"] = ReceivedBytes()
        subject, is_settled = subject_of(request, request.scope["state"]["caller"]), False

        async def settle() -> None:
            nonlocal is_settled
            if not is_settled:
                is_settled = True
                await self._rate_limiter.settle(request, subject, received.count)

        async def counting_receive() -> Message:
            message = await receive()
            received.add(len(message.get("body", b"")))
            return message

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                await settle()

        try:
            await self._app(request.scope, counting_receive, send_with_limits)
        finally:
            await settle()

    async def _authorize(self, request: Request, uploading: ExitStack) -> list[tuple[bytes, bytes]]:
        """Authorize and count a request; returns the rate-limit headers for the response, if there are limits."""
        path = path_of(request.scope)
        request.scope.setdefault("state", {})["session_cookie"] = self._session_cookie
        try:
            caller = await self._authenticate(request, path)
        except KeyRefused:
            note_refused_key(client_address(request))
            # Failed keys count against the address, so that keys cannot be guessed faster than requests are allowed.
            await self._rate_limiter.count(request, subject_of(request, None))
            raise
        state = request.scope["state"]
        caller = replace(caller, address=client_address(request))
        state["caller"] = caller
        state["is_still_allowed"] = partial(self._is_still_allowed, request, path)
        if _is_open_path(path) and request.method in SAFE_METHODS:
            return []
        subject = subject_of(request, caller)
        uploading.enter_context(self._rate_limiter.uploading(request, subject))
        limits = await self._rate_limiter.count(request, subject)
        headers = rate_limit_headers(limits)
        return [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    def _rejection(self, request: Request, error: ServiceError) -> Response:
        if isinstance(error, KeyNeeded | KeyRefused) and request.method == "GET" and prefers_html(request):
            return _redirect_to_sign_in(request, path_of(request.scope))
        return EarlyResponse.of(service_problem(error))

    async def _authenticate(self, request: Request, path: str) -> Caller:
        changes = request.method not in SAFE_METHODS
        key = _key(request.headers)
        if changes and not key:
            _check_site(request, self._origins, signed_in=self._session_cookie.may_be_signed_in(request))
        if _is_open_path(path):
            self._anonymous.check_open_path(request)
            return ANYBODY
        needs_no_key = await self._anonymous.allows(request)
        if key:
            caller = await self._cached("key", key, api_keys.authenticate_key)
        elif needs_no_key:
            return ANYBODY
        elif token := await self._session_cookie.token(request):
            caller = await self._cached("session", token, api_keys.authenticate_session)
        else:
            raise KeyNeeded
        sufficient = sufficient_scopes(request.method, path)
        if any(caller.may(scope) for scope in sufficient):
            return caller
        raise ScopeMissing(f"The API key does not have the scope {sufficient[0]}.")

    async def _is_still_allowed(self, request: Request, path: str) -> bool:
        """Whether the request would be accepted now. While the database is unavailable, it is."""
        try:
            await self._authenticate(request, path)
        except DatabaseUnavailable:
            return True
        except ServiceError:
            return False
        return True

    async def _cached(self, kind: str, secret: str, authenticate: Callable[[str], Awaitable[Caller]]) -> Caller:
        caller = self._callers.get((kind, secret))
        if caller is None:
            caller = self._callers[kind, secret] = await authenticate(secret)
        return caller


def sufficient_scopes(method: str, path: str) -> list[Scope]:
    """The scopes of which a request needs one.

    With ``upload`` alone, its route restricts it to the caller's predictions.
    """
    changes, path = method not in SAFE_METHODS, path.rstrip("/")
    if changes and ADMIN_PATHS.fullmatch(path):
        return [Scope.ADMIN]
    needed = Scope.WRITE if changes else Scope.READ
    is_for_uploaders = method == "POST" and path in UPLOAD_PATHS if changes else OWN_PATHS.fullmatch(path)
    return [needed, Scope.UPLOAD] if is_for_uploaders else [needed]


def client_address(request: Request) -> str:
    """Network address of the client, or of the last proxy that is not trusted; empty if unknown."""
    return request.client.host if request.client else ""


def _is_open_path(path: str) -> bool:
    return path.rstrip("/") in OPEN_PATHS or path.startswith(OPEN_PREFIXES)


def path_of(scope: AsgiScope) -> str:
    """The path without a proxy's prefix."""
    return str(scope["path"]).removeprefix(scope.get("root_path", "")) or "/"


def _key(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return headers.get("x-api-key", "") or (token.strip() if scheme.lower() == "bearer" else "")


def _check_site(request: Request, trusted: frozenset[str], *, signed_in: bool) -> None:
    """Raises CrossSite if another site's page made the browser send a request that changes something.

    ``trusted``: origins whose pages may, except with the cookie of somebody who is signed in.
    """
    fetch_site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if origin in trusted and not signed_in:
        return
    if fetch_site is not None:
        # No page makes a browser send "none": a person has shared an image with the installed page, for example.
        is_own_act = fetch_site == "none" and (not signed_in or path_of(request.scope).rstrip("/") in SHARE_TARGETS)
        if fetch_site != "same-origin" and not is_own_act:
            raise CrossSite
    elif origin is not None:
        # Browsers before 2023, or without TLS, send Origin with every form and script that changes something.
        site: Site = request.state.site
        # Scripts of other origins may not send this header unless a preflight allows it, and none does.
        if not site.is_origin(origin) and SCRIPT_HEADER not in request.headers:
            raise CrossSite(
                f"The request was rejected because it came from a page of {origin[:MAX_FILENAME]!r}. If that is the "
                "address of this service behind a proxy, set PUBLIC_URL to it."
            )
    elif signed_in:
        raise CrossSite


def _redirect_to_sign_in(request: Request, path: str) -> Response:
    root = request.scope.get("root_path", "")
    query = f"?{request.url.query}" if request.url.query else ""
    where = "" if path == "/" and not query else f"?next={quote(path + query, safe='')}"
    return RedirectResponse(f"{root}{SIGN_IN}{where}", HTTPStatus.SEE_OTHER)
