"""Completes `/openapi.json` beyond what routes declare: API keys, and responses of the middleware."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

from app.api.errors import PROBLEM, problem_responses
from app.api.middleware.auth import OPEN_PATHS, sufficient_scopes
from app.domain import MAX_MODEL_NAME, LabelUnknown

SECURITY: Final[dict[str, dict[str, str]]] = {
    "X-API-Key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "Required as soon as a key exists, and always on other addresses than loopback ones, unless the "
        "operator sets ALLOW_ANONYMOUS=1. Until then, programs on the same machine need none.",
    },
    "Bearer": {"type": "http", "scheme": "bearer", "description": "The same API key."},
}

TAGS: Final[list[dict[str, str]]] = [
    {"name": "classification", "description": "Upload images, one or many, or classify them again."},
    {"name": "predictions", "description": "Read, search, correct, export and delete the results."},
    {"name": "images", "description": "View images and heat maps, and find similar images."},
    {"name": "events", "description": "Results as they arrive, without polling."},
    {"name": "reviews", "description": "Confirm or correct results, and learn how accurate the models are."},
    {"name": "custom models", "description": "Teach your own labels with a few images of each."},
    {"name": "models", "description": "Which models there are, and which labels they know."},
    {"name": "tabular models", "description": "Classify rows of numbers."},
    {"name": "service", "description": "Health checks and metrics, for operators."},
    {"name": "aliases", "description": "Other paths for the same, as clients of other services send them."},
]
"""Groups of operations, in the order in which people look for them."""

OF_BODIES: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
)
"""Any body may be no UTF-8, too slow, or too large."""
_CONTRADICTION: Final[dict[str, Any]] = {
    "schema": {"$ref": "#/components/schemas/Problem"},
    "example": {
        "type": "about:blank",
        "title": HTTPStatus.UNPROCESSABLE_ENTITY.phrase,
        "status": HTTPStatus.UNPROCESSABLE_ENTITY.value,
        "detail": "The model 'pets' has no label 'ant'.",
        "code": LabelUnknown.code,
    },
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
            _restore_examples(schema["components"]["schemas"])
            for path, operations in schema["paths"].items():
                if path not in OPEN_PATHS:
                    for method, operation in operations.items():
                        _complete(operation, method.upper(), path)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _restore_examples(schemas: dict[str, Any]) -> None:
    """Put the models' examples back as they are: FastAPI removes what is null from them, even required fields."""
    for model in _models(BaseModel):
        extra = model.model_config.get("json_schema_extra")
        if model.__name__ in schemas and isinstance(extra, dict) and "examples" in extra:
            schemas[model.__name__]["examples"] = extra["examples"]


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for child in model.__subclasses__():
        if child.__module__.startswith("app."):
            yield child
        yield from _models(child)


def _complete(operation: dict[str, Any], method: str, path: str) -> None:
    # The empty requirement covers services that need no API keys.
    operation["security"] = [{}, *({name: []} for name in SECURITY)]
    needs = " or ".join(f"`{scope}`" for scope in sufficient_scopes(method, path.replace("{id}", "1")))
    operation["description"] = f"{operation.get('description', '')}\n\nScope: {needs}.".strip()
    responses = operation["responses"]
    body = [status for status in OF_BODIES if str(status.value) not in responses] if "requestBody" in operation else []
    for status, response in problem_responses(*BEFORE_ROUTES, *body).items():
        responses[str(status)] = {name: value for name, value in response.items() if name != "model"}
    _show_examples(operation, path)


def _show_examples(operation: dict[str, Any], path: str) -> None:
    """Give the errors of an operation examples that fit it."""
    responses = operation["responses"]
    invalid = responses.get("422", {}).get("content", {})
    if "application/json" in invalid:
        invalid["application/json"]["example"] = {"detail": [_invalid_example(operation)]}
        # What is well-formed, but contradicts what is stored.
        invalid.setdefault(PROBLEM, _CONTRADICTION)
    missing = responses.get("404", {}).get("content", {}).get(PROBLEM)
    if missing is not None:
        missing["example"] = missing["example"] | {"detail": _missing_example(path)}


def _invalid_example(operation: dict[str, Any]) -> dict[str, Any]:
    """An error of the first parameter that has a type to violate, or else of the body."""
    for parameter in operation.get("parameters", ()):
        kinds = {one.get("type") for one in (parameter["schema"], *parameter["schema"].get("anyOf", ()))}
        for kind, name in (("integer", "int_parsing"), ("number", "float_parsing"), ("boolean", "bool_parsing")):
            if kind in kinds:
                message = f"Input should be a valid {kind}"
                return {"type": name, "loc": [parameter["in"], parameter["name"]], "msg": message, "input": "x"}
    if "requestBody" in operation:
        return {"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}
    (first, *_) = operation["parameters"]
    message = f"String should have at most {MAX_MODEL_NAME} characters"
    return {"type": "string_too_long", "loc": [first["in"], first["name"]], "msg": message, "input": "x"}


def _missing_example(path: str) -> str:
    if path.startswith(("/predictions", "/classifications")):
        return "Prediction not found"
    if re.fullmatch(r"/predict.*|/models/{name}/(labels|categories|accuracy)", path):
        return "There is no model 'pets'; available: mobilenet_v2."
    return "There is no custom model named 'pets'."
