"""Error pages."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, get_args
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import core_schema
from starlette.exceptions import HTTPException

from app.api.early_response import EarlyResponse
from app.api.errors import headers_of, log_error, status_of
from app.api.params import prefers_html
from app.domain import Overloaded, ServiceError
from app.pages.rendering import local_path, page
from app.pages.translation import mark

TITLES: Final[Mapping[HTTPStatus, str]] = MappingProxyType(
    {
        HTTPStatus.NOT_FOUND: mark("Not found"),
        HTTPStatus.UNAUTHORIZED: mark("Sign in"),
        HTTPStatus.FORBIDDEN: mark("Not allowed"),
        HTTPStatus.METHOD_NOT_ALLOWED: mark("Not allowed"),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: mark("Too large"),
        HTTPStatus.INTERNAL_SERVER_ERROR: mark("Something went wrong"),
        HTTPStatus.UNPROCESSABLE_ENTITY: mark("That cannot be processed"),
        HTTPStatus.BAD_REQUEST: mark("That cannot be processed"),
        HTTPStatus.SERVICE_UNAVAILABLE: mark("Not available right now"),
        HTTPStatus.TOO_MANY_REQUESTS: mark("Too many requests"),
        HTTPStatus.CONFLICT: mark("Not possible right now"),
    }
)
FRAMEWORK_ERRORS: Final = frozenset(get_args(core_schema.ErrorType)) - {"value_error"}
"""Types of errors that pydantic words for developers."""
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
                response = error_page(request, status_of(error), error.message)
                response.headers.update(headers_of(error))
                # The request may not have been read completely.
                return EarlyResponse.of(response) if isinstance(error, Overloaded) else response
            except HTTPException as error:
                return EarlyResponse.of(error_page(request, HTTPStatus(error.status_code), str(error.detail)))
            except RequestValidationError as error:
                return error_page(request, HTTPStatus.UNPROCESSABLE_ENTITY, invalid_text(error.errors()))

        return handle_page


class PageOrJsonRoute(PageRoute):
    """Shows errors as pages to browsers, and as problem documents to programs."""

    def get_route_handler(self) -> Handler:
        """Both of FastAPI's handlers: the one that shows pages, and the usual one."""
        for_browsers, for_programs = super().get_route_handler(), APIRoute.get_route_handler(self)

        async def handle_either(request: Request) -> Response:
            return await (for_browsers if prefers_html(request) else for_programs)(request)

        return handle_either


def invalid_text(errors: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with a form or an address, in the words of the service, or else which values to check."""
    own = [error["msg"].removeprefix("Value error, ") for error in errors if _is_own(error)]
    if own:
        return "; ".join(own)
    names = dict.fromkeys(str(error["loc"][1]) for error in errors if len(error["loc"]) > 1)
    return f"Check the values of: {', '.join(names)}." if names else "; ".join(error["msg"] for error in errors)


def _is_own(error: Mapping[str, Any]) -> bool:
    if error["type"] == "missing":
        return bool(error["msg"] != "Field required")
    return error["type"] not in FRAMEWORK_ERRORS


def error_page(request: Request, status: HTTPStatus, text: str) -> Response:
    """A page with an error message."""
    # Links back to the form, but only to a path of this service, whatever the Referer header says.
    referrer = urlsplit(request.headers.get("referer", ""))
    path = f"{referrer.path}?{referrer.query}" if referrer.query else referrer.path
    back = local_path(path) if referrer.netloc == request.headers.get("host") else ""
    return page(
        request,
        "error.html",
        status=status,
        navigation=status is not HTTPStatus.UNAUTHORIZED,
        title=TITLES.get(status, status.phrase),
        message=text,
        back=back,
    )
