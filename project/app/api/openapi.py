"""Completes `/openapi.json` beyond what routes declare: API keys, and responses of the middleware."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI

from app.api.errors import problem_responses
from app.api.middleware.auth import OPEN_PATHS, SAFE_METHODS

SECURITY: Final[dict[str, dict[str, str]]] = {
    "X-API-Key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "Bearer": {"type": "http", "scheme": "bearer", "description": "The same API key."},
}

BEFORE_ROUTES: Final = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.TOO_MANY_REQUESTS,
)


def complete_openapi(app: FastAPI) -> None:
    """Complete an application's OpenAPI schema."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            schema["components"]["securitySchemes"] = SECURITY
            for path, operations in schema["paths"].items():
                if path not in OPEN_PATHS:
                    for method, operation in operations.items():
                        _complete(operation, changes=method.upper() not in SAFE_METHODS)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(operation: dict[str, Any], *, changes: bool) -> None:
    # The empty requirement covers services that need no API keys.
    operation["security"] = [{}, *({name: []} for name in SECURITY)]
    needs = "write" if changes else "read"
    operation["description"] = f"{operation.get('description', '')}\n\nScope: `{needs}`.".strip()
    for status, response in problem_responses(*BEFORE_ROUTES).items():
        operation["responses"][str(status)] = {name: value for name, value in response.items() if name != "model"}
