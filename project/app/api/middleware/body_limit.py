"""Limits the size of request bodies while they arrive, and the time that small ones take."""

import asyncio
import re
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.early_response import EarlyResponse
from app.api.errors import problem, service_problem
from app.domain import UploadTooLarge

UPLOADS: Final = "/predictions"
FORMS: Final = (UPLOADS, "/classifications", "/catalog/comparison")
"""Routes that accept an image as a form."""
BATCHES: Final = re.compile(r"/(predictions/batch|shared|models/[^/]+/examples/batch|teach/[^/]+/examples)$")
"""Routes that accept many images."""
SIGN_IN: Final = ("/sign-in", "/sign-out")

MULTIPART_OVERHEAD: Final = 64 * 1024
"""Bytes allowed for boundaries, headers and small fields of a form or JSON, in addition to the file."""

OTHER_BODIES: Final = 64 * 1024
"""Maximum size of any other body."""

SIGN_IN_BODIES: Final = 4 * 1024
"""Strangers send these."""

BODY_SECONDS: Final = 15.0
"""Time limit for every body without an image; uploads and batches have limits of their own."""


class BodyLimitMiddleware:
    """ASGI middleware: responds with 413 as soon as a body exceeds its limit, or 408 if it takes too long.

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
        limit, max_total, has_image = self._limit(scope["method"], scope["path"], headers.get("content-type", ""))
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > max_total:
            await _refusal(limit)(scope, receive, send)
            return
        received = 0
        has_started = is_complete = False
        deadline = asyncio.get_running_loop().time() + BODY_SECONDS

        async def limited_receive() -> Message:
            nonlocal received, is_complete
            # A complete body is followed by the disconnection of the client, which may be waited for without end.
            is_limited = not (has_image or is_complete or has_started)
            try:
                async with asyncio.timeout_at(deadline if is_limited else None):
                    message = await receive()
            except TimeoutError:
                raise BodyTooSlow from None
            is_complete = not message.get("more_body")
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
        except BodyTooSlow:
            slow = problem(HTTPStatus.REQUEST_TIMEOUT, f"The request took longer than {BODY_SECONDS:.0f} s.")
            await EarlyResponse.of(slow)(scope, receive, send)
        except ClientDisconnect:
            # Nobody is left to respond to, and nothing is wrong with the service.
            return

    def _limit(self, method: str, path: str, content_type: str) -> tuple[int, int, bool]:
        """The limit to report to the client, the limit including overhead, and whether the body holds images."""
        path, media_type = path.rstrip("/"), content_type.partition(";")[0].strip().lower()
        if method == "POST":
            if BATCHES.search(path):
                return self._max_batch_bytes, self._max_batch_bytes, True
            if media_type.startswith("multipart/") and path.endswith(FORMS):
                return self._max_bytes, self._max_bytes + MULTIPART_OVERHEAD, True
            if media_type in {"application/json", ""} and path.endswith(UPLOADS):
                return self._max_bytes, base64_length(self._max_bytes) + MULTIPART_OVERHEAD, True
        # Only the bodies above carry images; all others are parsed on the event loop and have no reason to be large.
        small = SIGN_IN_BODIES if path.endswith(SIGN_IN) else OTHER_BODIES
        return small, small, False


def base64_length(count: int) -> int:
    """Length of ``count`` bytes as base64 in JSON, with line breaks after 76 characters (RFC 2045)."""
    characters = -(-count // 3) * 4
    return characters + characters // 76 * 2


def _refusal(limit: int) -> EarlyResponse:
    return EarlyResponse.of(service_problem(UploadTooLarge.above(limit)))


class BodyTooLarge(BaseException):
    """Leaves the application from within ``receive``. A BaseException, so that no handler on the way catches it."""


class BodyTooSlow(BaseException):
    """As BodyTooLarge, for a body that takes too long."""
