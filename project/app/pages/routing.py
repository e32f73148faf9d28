"""Routes whose errors are pages."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app.api.early import EarlyAnswer
from app.api.errors import headers_of, log_error, status_of
from app.domain import Overloaded, ServiceError
from app.pages.rendering import page

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """Answers errors with a page that says what is wrong."""

    def get_route_handler(self) -> Handler:
        """The handler that FastAPI made, with that around it."""
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            try:
                return await handle(request)
            except ServiceError as error:
                log_error(request, error)
                shown = told(request, status_of(error), error.message)
                shown.headers.update(headers_of(error))
                # What was sent may not have been read.
                return EarlyAnswer.of(shown) if isinstance(error, Overloaded) else shown
            except HTTPException as error:
                return EarlyAnswer.of(told(request, HTTPStatus(error.status_code), str(error.detail)))
            except RequestValidationError as error:
                return told(request, HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(one["msg"] for one in error.errors()))

        return handle_page


def told(request: Request, status: HTTPStatus, text: str) -> Response:
    """A page that says what is wrong."""
    # To the form that was filled in; a link of this service's, whatever the header says.
    came_from = urlsplit(request.headers.get("referer", ""))
    back = came_from.path if came_from.netloc == request.headers.get("host") else ""
    return page(request, "told.html", status=status, title=status.phrase, told=text, back=back)
