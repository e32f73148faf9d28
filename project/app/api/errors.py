"""The one place where errors become HTTP: RFC 9457 problem documents, and FastAPI's own list for 422."""

import json
import logging
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app import domain
from app.api.early_response import EarlyResponse
from app.api.rate_limit_headers import rate_limit_headers
from app.models.pydantic_system import Problem
from app.observability.log_events import REQUEST_FAILED

log = logging.getLogger(__name__)

STATUS: Final[dict[type[domain.ServiceError], HTTPStatus]] = {
    domain.KeyNeeded: HTTPStatus.UNAUTHORIZED,
    domain.KeyRefused: HTTPStatus.UNAUTHORIZED,
    domain.KeyNotFound: HTTPStatus.NOT_FOUND,
    domain.ScopeMissing: HTTPStatus.FORBIDDEN,
    domain.CrossSite: HTTPStatus.FORBIDDEN,
    domain.HostNotAllowed: HTTPStatus.MISDIRECTED_REQUEST,
    domain.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    domain.QuotaExceeded: HTTPStatus.FORBIDDEN,
    domain.PredictionNotFound: HTTPStatus.NOT_FOUND,
    domain.PredictionUnfinished: HTTPStatus.CONFLICT,
    domain.IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    domain.IdempotencyKeyInFlight: HTTPStatus.CONFLICT,
    domain.ModelUnknown: HTTPStatus.NOT_FOUND,
    domain.ModelExists: HTTPStatus.CONFLICT,
    domain.VersionUnknown: HTTPStatus.NOT_FOUND,
    domain.ShadowNotFound: HTTPStatus.NOT_FOUND,
    domain.VersionUnusable: HTTPStatus.CONFLICT,
    domain.TrainingNotFound: HTTPStatus.NOT_FOUND,
    domain.ExampleContradicts: HTTPStatus.CONFLICT,
    domain.ReviewsMissing: HTTPStatus.CONFLICT,
    domain.ExampleNotFound: HTTPStatus.NOT_FOUND,
    domain.LabelUnknown: HTTPStatus.UNPROCESSABLE_ENTITY,
    domain.ImageMissing: HTTPStatus.NOT_FOUND,
    domain.ImageUnreadable: HTTPStatus.NOT_FOUND,
    domain.NotExplainable: HTTPStatus.NOT_FOUND,
    domain.EmbeddingMissing: HTTPStatus.NOT_FOUND,
    domain.EngineDied: HTTPStatus.SERVICE_UNAVAILABLE,
    domain.EngineInterrupted: HTTPStatus.SERVICE_UNAVAILABLE,
    domain.ModelBroken: HTTPStatus.SERVICE_UNAVAILABLE,
    domain.NotAnImage: HTTPStatus.BAD_REQUEST,
    domain.UploadTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    domain.ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    domain.ArchiveRefused: HTTPStatus.BAD_REQUEST,
    domain.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    domain.NoWorkerYet: HTTPStatus.SERVICE_UNAVAILABLE,
    domain.StorageUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    domain.DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    domain.TablesMissing: HTTPStatus.SERVICE_UNAVAILABLE,
}
TRANSIENT_ERRORS: Final = (domain.DatabaseUnavailable, domain.StorageUnavailable)
"""Transient errors that every request reports until the service recovers: logged in one line."""
PROBLEM: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 5
IN_FLIGHT_SECONDS: Final = 1
ECHO_LIMIT: Final = 200
NO_FILE: Final = "A file is required: send the image as the field `file` of a multipart form (curl -F file=@image.jpg)"
NOT_JSON: Final = "The body must be JSON: send the header Content-Type: application/json (curl --json)"

Responses = dict[int | str, dict[str, Any]]


def problem_responses(*statuses: HTTPStatus) -> Responses:
    """OpenAPI descriptions of the problems that a route can respond with."""
    return {
        status.value: {
            "model": Problem,
            "description": status.phrase,
            "content": {
                PROBLEM: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": {
                        "type": "about:blank",
                        "title": status.phrase,
                        "status": status.value,
                        "detail": _EXAMPLES.get(status, status.description),
                    },
                }
            },
        }
        for status in statuses
    }


_EXAMPLES: Final = {
    HTTPStatus.UNAUTHORIZED: "An API key is required: send it as X-API-Key or as Authorization: Bearer.",
    HTTPStatus.MISDIRECTED_REQUEST: domain.HostNotAllowed("images.example.com").message,
    HTTPStatus.TOO_MANY_REQUESTS: "More than 600 requests per minute: try again later.",
    HTTPStatus.FORBIDDEN: "The API key does not have the scope write.",
    HTTPStatus.NOT_FOUND: "Prediction not found",
    HTTPStatus.CONFLICT: "The prediction is not finished: wait until its status is succeeded or failed.",
    HTTPStatus.BAD_REQUEST: "File must be an image",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: domain.UploadTooLarge.above(20971520).message,
    HTTPStatus.SERVICE_UNAVAILABLE: "The database is unavailable. Try again shortly.",
}


PREDICTION_RESPONSES: Final = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
"""Of routes about one prediction."""


def problem(
    status: HTTPStatus,
    detail: str,
    *,
    code: str | None = None,
    reason: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """A problem document (RFC 9457) as a response."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
    }
    if code:
        document["code"] = code
    if reason:
        document["reason"] = reason
    return Response(json.dumps(document), status.value, headers, PROBLEM)


def add_error_handlers(app: FastAPI) -> None:
    """Register the error handlers."""
    app.add_exception_handler(domain.ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


def service_problem(error: domain.ServiceError) -> Response:
    """The response to a domain error."""
    reason = error.reason if isinstance(error, domain.NotAnImage) else None
    return problem(status_of(error), error.message, code=error.code, reason=reason, headers=headers_of(error))


def unexpected_problem() -> Response:
    """The response to an unexpected error, which tells the client nothing about it."""
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error. Try again later; the operator finds the cause in the log."
    )


def headers_of(error: domain.ServiceError) -> dict[str, str]:
    """Headers of an error response, such as Retry-After."""
    if isinstance(error, domain.RateLimited):
        return {"Retry-After": str(error.retry_after), **rate_limit_headers(error.limits)}
    if isinstance(error, domain.IdempotencyKeyInFlight):
        return {"Retry-After": str(IN_FLIGHT_SECONDS)}
    status = status_of(error)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        seconds = error.retry_after if isinstance(error, domain.Overloaded) else RETRY_AFTER_SECONDS
        return {"Retry-After": str(seconds)}
    return {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else {}


def status_of(error: domain.ServiceError) -> HTTPStatus:
    """The HTTP status of a domain error."""
    return STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, domain.ServiceError)
    log_error(request, error)
    response = service_problem(error)
    return EarlyResponse.of(response) if isinstance(error, domain.Overloaded) else response


def log_error(request: Request, error: domain.ServiceError) -> None:
    """Log errors that are not the client's fault."""
    if isinstance(error, TRANSIENT_ERRORS):
        log.warning(REQUEST_FAILED, request.method, request.url.path, error.message)
    elif isinstance(error, domain.Overloaded):
        # Nothing is broken, and a line per rejected request would add to the load.
        return
    elif status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error(REQUEST_FAILED, request.method, request.url.path, error.message, exc_info=error.__cause__)


async def _http_error(request: Request, error: Exception) -> Response:
    """Errors raised by Starlette and FastAPI: unknown path, wrong method, malformed form."""
    assert isinstance(error, HTTPException)
    status, root = HTTPStatus(error.status_code), request.scope.get("root_path", "")
    detail = {
        HTTPStatus.NOT_FOUND: f"{request.url.path} does not exist; {root}/docs lists all paths.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} is not allowed here; see the Allow header or {root}/docs.",
    }.get(status, str(error.detail))
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED and not isinstance(error, MethodRefused):
        # Starlette lists the methods of one route only; the GET and PUT of a path are two routes.
        headers["Allow"] = ", ".join(_allowed_methods(request))
    return problem(status, detail, headers=headers)


class MethodRefused(HTTPException):
    """A path that has no route for the method and must not be parsed as an ID."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(allowed)})


def _allowed_methods(request: Request) -> list[str]:
    """Methods allowed on the request's path."""
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]


async def _unexpected(_request: Request, _error: Exception) -> Response:
    return unexpected_problem()


async def _invalid_request(_request: Request, error: Exception) -> Response:
    """422 with FastAPI's list; the input is only echoed if it is short and serializable as JSON."""
    assert isinstance(error, RequestValidationError)
    detail = []
    for entry in error.errors():
        item = {"type": entry["type"], "loc": list(entry["loc"]), "msg": entry["msg"]}
        if entry["loc"] == ("body", "file"):
            item["msg"] = NO_FILE
        if entry["type"] == "model_attributes_type" and isinstance(entry.get("input"), bytes):
            item["msg"] = NOT_JSON
        for name in ("input", "ctx"):
            # ctx: the bound that a value exceeds, for example.
            if name in entry and _can_be_echoed(entry[name]):
                item[name] = entry[name]
        detail.append(item)
    return Response(json.dumps({"detail": detail}), HTTPStatus.UNPROCESSABLE_ENTITY, media_type="application/json")


def _can_be_echoed(value: object) -> bool:
    try:
        return len(json.dumps(value, allow_nan=False)) <= ECHO_LIMIT
    except (TypeError, ValueError):
        return False
