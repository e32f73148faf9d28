"""Limits the size of request bodies while they arrive."""

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.early_response import EarlyResponse
from app.api.errors import service_problem
from app.domain import UploadTooLarge

UPLOADS: Final = "/predictions"
BATCHES: Final = "/predictions/batch"

MULTIPART_OVERHEAD: Final = 64 * 1024
"""Bytes allowed for boundaries, headers and small fields of a form or JSON, in addition to the file."""

OTHER_BODIES: Final = 64 * 1024
"""Maximum size of any other body."""


class BodyLimitMiddleware:
    """ASGI middleware: responds with 413 as soon as a body exceeds its limit, and stops reading it.

    Starlette's own limit responds in plain text if the length is declared; this one sends RFC 9457 problems in both
    cases.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_batch_bytes: int) -> None:
        """``max_bytes``: of an image, however it is sent; ``max_batch_bytes``: of a batch."""
        self._app = app
        self._max_bytes = max_bytes
        self._max_batch_bytes = max_batch_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on until it is too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit, max_total = self._limit(scope["path"], headers.get("content-type", ""))
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > max_total:
            await _refusal(limit)(scope, receive, send)
            return
        received = 0
        has_started = False

        async def limited_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > max_total and not has_started:
                raise BodyTooLarge(UploadTooLarge.above(limit).message)
            return message

        async def watched_send(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, limited_receive, watched_send)
        except BodyTooLarge:
            await _refusal(limit)(scope, receive, send)

    def _limit(self, path: str, content_type: str) -> tuple[int, int]:
        """The limit to report to the client, and the limit including overhead."""
        path, media_type = path.rstrip("/"), content_type.partition(";")[0].strip().lower()
        if path.endswith(BATCHES):
            return self._max_batch_bytes, self._max_batch_bytes
        if media_type.startswith("multipart/"):
            return self._max_bytes, self._max_bytes + MULTIPART_OVERHEAD
        if media_type == "application/json" and path.endswith(UPLOADS):
            return self._max_bytes, base64_length(self._max_bytes) + MULTIPART_OVERHEAD
        # Only the bodies above carry images; all others are parsed on the event loop and have no reason to be large.
        return OTHER_BODIES, OTHER_BODIES


def base64_length(count: int) -> int:
    """Length of ``count`` bytes as base64 in JSON, with line breaks after 76 characters (RFC 2045)."""
    characters = -(-count // 3) * 4
    return characters + characters // 76 * 2


def _refusal(limit: int) -> EarlyResponse:
    return EarlyResponse.of(service_problem(UploadTooLarge.above(limit)))


class BodyTooLarge(BaseException):
    """Leaves the application from within ``receive``. A BaseException, so that no handler on the way catches it."""
