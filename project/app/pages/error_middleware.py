"""Shows every error to browsers as a page, whichever part of the service has answered."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import PROBLEM
from app.api.params import prefers_html
from app.pages.errors import error_page, invalid_text
from app.pages.translation import mark

JSON: Final = "application/json"
PLAIN: Final[Mapping[HTTPStatus, str]] = MappingProxyType(
    {
        HTTPStatus.NOT_FOUND: mark("This page does not exist."),
        HTTPStatus.METHOD_NOT_ALLOWED: mark("This action is not available here."),
        HTTPStatus.INTERNAL_SERVER_ERROR: mark("Try again later; the operator finds the cause in the log."),
    }
)


class ErrorPageMiddleware:
    """ASGI middleware that replaces problem documents by pages where a client prefers HTML."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its response back."""
        if scope["type"] != "http" or not prefers_html(Request(scope)):
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def send_page(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_problem(message):
                start = message
                return
            if start is not None:
                # A problem is sent as a whole. The response to HEAD has no body.
                if text := message.get("body", b""):
                    start, message["body"] = _page(Request(scope), start, text)
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, send_page)


def _is_problem(start: Message) -> bool:
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return kind.startswith(PROBLEM) or (start["status"] == HTTPStatus.UNPROCESSABLE_ENTITY and kind.startswith(JSON))


def _page(request: Request, start: Message, problem: bytes) -> tuple[Message, bytes]:
    """The page of a problem; headers such as Retry-After and Allow stay."""
    document: dict[str, Any] = json.loads(problem)
    detail, status = document["detail"], HTTPStatus(start["status"])
    text = invalid_text(detail) if isinstance(detail, list) else str(detail)
    if "code" not in document:
        # The framework's errors name paths and methods, which say nothing to people.
        text = PLAIN.get(status, text)
    page = error_page(request, status, text)
    headers = MutableHeaders(raw=list(start["headers"]))
    headers.update(page.headers)
    return {**start, "headers": headers.raw}, bytes(page.body)
