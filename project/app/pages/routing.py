"""Routes whose errors are pages."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from app.api.errors import status_of
from app.domain import ServiceError
from app.pages.rendering import page

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """Answers errors with a page that says what is wrong, and nothing that another site's form sends."""

    def get_route_handler(self) -> Handler:
        """The handler that FastAPI made, with that around it."""
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            if request.method == "POST" and request.headers.get("sec-fetch-site") == "cross-site":
                return told(request, HTTPStatus.FORBIDDEN, "Another site sent this form: nothing was done.")
            try:
                return await handle(request)
            except ServiceError as error:
                return told(request, status_of(error), error.message)
            except RequestValidationError as error:
                return told(request, HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(one["msg"] for one in error.errors()))

        return handle_page


def told(request: Request, status: HTTPStatus, text: str) -> Response:
    """A page that says what is wrong."""
    return page(request, "told.html", status=status, title=status.phrase, told=text)
