"""Error pages."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app.api.early import EarlyResponse
from app.api.errors import headers_of, log_error, status_of
from app.domain import Overloaded, ServiceError
from app.pages.rendering import page

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """Shows errors as pages."""

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, wrapped."""
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            try:
                return await handle(request)
            except ServiceError as error:
                log_error(request, error)
                shown = told(request, status_of(error), error.message)
                shown.headers.update(headers_of(error))
                # The request may not have been read completely.
                return EarlyResponse.of(shown) if isinstance(error, Overloaded) else shown
            except HTTPException as error:
                return EarlyResponse.of(told(request, HTTPStatus(error.status_code), str(error.detail)))
            except RequestValidationError as error:
                return told(request, HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(one["msg"] for one in error.errors()))

        return handle_page


def told(request: Request, status: HTTPStatus, text: str) -> Response:
    """A page with an error message."""
    # Links back to the form, but only to a path of this service, whatever the Referer header says.
    came_from = urlsplit(request.headers.get("referer", ""))
    back = came_from.path if came_from.netloc == request.headers.get("host") else ""
    return page(request, "told.html", status=status, title=status.phrase, told=text, back=back)
