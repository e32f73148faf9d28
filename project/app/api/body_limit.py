"""The limit on what a request may carry, applied while it arrives."""

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.early import EarlyAnswer
from app.api.errors import service_problem
from app.domain import UploadTooLarge

MULTIPART_OVERHEAD: Final = 64 * 1024
"""Bytes that boundaries, headers and small fields of a form may take beside the file."""

OTHER_BODIES: Final = 64 * 1024
"""Bytes that a body other than a form may have."""


class BodyLimit:
    """ASGI middleware: answers 413 as soon as a body is known to exceed ``max_bytes``, and stops reading it.

    Starlette's own limit answers in plain text where the length is declared; ours speaks RFC 9457 in both cases.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless and until it is too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        # Only a form carries a file; everything else is parsed on the event loop, and has no reason to be large.
        is_form = headers.get("content-type", "").lower().startswith("multipart/")
        limit = self._max_bytes if is_form else OTHER_BODIES
        most = limit + MULTIPART_OVERHEAD if is_form else limit
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
                raise _TooLarge
            return message

        async def watched_send(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, limited_receive, watched_send)
        except _TooLarge:
            await _refusal(limit)(scope, receive, send)


def _refusal(limit: int) -> EarlyAnswer:
    return EarlyAnswer.of(service_problem(UploadTooLarge(f"The upload is larger than {limit} bytes.")))


class _TooLarge(BaseException):
    """Leaves the application from within ``receive``. No Exception, so that nothing on the way answers for it."""
