"""The limit on what a request may carry, applied while it arrives."""

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.early import EarlyAnswer
from app.api.errors import service_problem
from app.domain import UploadTooLarge

UPLOADS: Final = "/predictions"
BATCHES: Final = "/predictions/batch"

MULTIPART_OVERHEAD: Final = 64 * 1024
"""Bytes that boundaries, headers and small fields of a form, or of JSON, may take beside the file."""

OTHER_BODIES: Final = 64 * 1024
"""Bytes that a body other than a form may have."""


class BodyLimit:
    """ASGI middleware: answers 413 as soon as a body is known to exceed its limit, and stops reading it.

    Starlette's own limit answers in plain text where the length is declared; ours speaks RFC 9457 in both cases.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_batch_bytes: int) -> None:
        """``max_bytes``: of an image, however it is sent; ``max_batch_bytes``: of many."""
        self._app = app
        self._max_bytes = max_bytes
        self._max_batch_bytes = max_batch_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless and until it is too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit, most = self._limit(scope["path"], headers.get("content-type", ""))
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most:
            await _refusal(limit)(scope, receive, send)
            return
        arrived = 0
        answered = False

        async def limited_receive() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > most and not answered:
                raise BodyTooLarge(_told(limit))
            return message

        async def watched_send(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, limited_receive, watched_send)
        except BodyTooLarge:
            await _refusal(limit)(scope, receive, send)

    def _limit(self, path: str, content_type: str) -> tuple[int, int]:
        """Bytes that a body may have as a person would say it, and with what is around them."""
        path, media_type = path.rstrip("/"), content_type.partition(";")[0].strip().lower()
        if path.endswith(BATCHES):
            return self._max_batch_bytes, self._max_batch_bytes
        if media_type.startswith("multipart/"):
            return self._max_bytes, self._max_bytes + MULTIPART_OVERHEAD
        if media_type == "application/json" and path.endswith(UPLOADS):
            return self._max_bytes, in_base64(self._max_bytes) + MULTIPART_OVERHEAD
        # Only these carry an image; everything else is parsed on the event loop, and has no reason to be large.
        return OTHER_BODIES, OTHER_BODIES


def in_base64(count: int) -> int:
    """Characters that so many bytes have in base64, with a line break after each 76 (RFC 2045), of two in JSON."""
    characters = -(-count // 3) * 4
    return characters + characters // 76 * 2


def _refusal(limit: int) -> EarlyAnswer:
    return EarlyAnswer.of(service_problem(UploadTooLarge(_told(limit))))


def _told(limit: int) -> str:
    return f"The upload is larger than {limit} bytes."


class BodyTooLarge(BaseException):
    """Leaves the application from within ``receive``. No Exception, so that nothing on the way answers for it."""
