"""Security headers for browsers, added to every response that lacks them."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOTHING: Final = b"default-src 'none'; frame-ancestors 'none'"
"""Policy for responses to programs: nothing may run or be displayed as a page."""
DOCUMENTATION: Final = (
    b"default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"font-src 'self'; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'self'; "
    b"frame-ancestors 'none'"
)
"""Swagger UI and ReDoc use inline scripts; nothing that a client sent is shown there."""
DOCUMENTED_AT: Final = ("/docs", "/redoc")

HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
DATA: Final = (b"application/", b"text/csv", b"text/plain")
NOT_STORED: Final = (b"cache-control", b"private, no-store")
"""For responses with data: they are of one caller and one moment."""
HSTS: Final = (b"strict-transport-security", b"max-age=31536000")
"""Browsers that used TLS once keep using it (RFC 6797)."""


class SecurityHeadersMiddleware:
    """ASGI middleware that adds security headers."""

    def __init__(self, app: ASGIApp, *, hsts: bool) -> None:
        """``hsts``: keep browsers on TLS once they used it."""
        self._app = app
        self._hsts = hsts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and complete the response's headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = _completed(message.get("headers", []), scope)
                if self._hsts and scope.get("scheme") == "https":
                    headers.append(HSTS)
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, send_complete)


def _completed(headers: list[tuple[bytes, bytes]], scope: Scope) -> list[tuple[bytes, bytes]]:
    there = {name for name, _ in headers}
    media_types = [value for name, value in headers if name == b"content-type"]
    added = [header for header in HEADERS if header[0] not in there]
    if b"content-security-policy" not in there:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        is_documentation = path.rstrip("/").startswith(DOCUMENTED_AT)
        added.append((b"content-security-policy", DOCUMENTATION if is_documentation else NOTHING))
    if b"cache-control" not in there and any(media_type.startswith(DATA) for media_type in media_types):
        added.append(NOT_STORED)
    return [*headers, *added]
