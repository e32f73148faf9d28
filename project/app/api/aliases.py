"""Aliases: calls of other services for tabular models, which run the code of the calls that they stand for."""

import json
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, BackgroundTasks, Request, Response

from app.api.deps import State
from app.api.errors import problem_responses
from app.api.tabular import ROW, classify_body, predict_defaults
from app.models.pydantic import FlowerPrediction, RowPrediction

router = APIRouter(tags=["aliases"])

IRIS: Final = "iris_random_forest"
_RESPONSES = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
_INVALID: Final[dict[str, Any]] = {
    "description": "Validation Error",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/HTTPValidationError"}}},
}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "One row, as itself or as `data`.",
        "content": {
            "application/json": {
                "schema": {"type": "object", "additionalProperties": True},
                "examples": {"a row": {"value": ROW}, "as data": {"value": {"data": ROW}}},
            }
        },
    }
}


@router.get("/predict/", summary="Alias of GET /predict/{model} with the default model", responses=_RESPONSES)
async def predict_default_row(state: State, response: Response, background: BackgroundTasks) -> RowPrediction:
    """Classifies the default row of the model that the setting TABULAR_MODEL names."""
    answer = await predict_defaults(state.settings.tabular_model, state, response, background)
    return RowPrediction(**answer.model_dump(), prediction=answer.label)


@router.post(
    "/predict/",
    summary="Alias of POST /predict/{model} with the default model",
    responses={**_RESPONSES, HTTPStatus.UNPROCESSABLE_ENTITY.value: _INVALID},
    openapi_extra=_BODY,
)
async def predict_row(request: Request, state: State, response: Response, background: BackgroundTasks) -> RowPrediction:
    """Classifies a row, plain or as `{"data": {…}}`, with the model that the setting TABULAR_MODEL names."""
    body = await request.body()
    answers, _ = await classify_body(state, state.settings.tabular_model, _unwrapped(body), response, background)
    return RowPrediction(**answers[0].model_dump(), prediction=answers[0].label)


@router.get("/prediction/", summary="Alias of POST /predict/iris_random_forest with one flower", responses=_RESPONSES)
async def predict_flower(state: State, response: Response, background: BackgroundTasks) -> FlowerPrediction:
    """Classifies one iris flower: a first result of a tabular model."""
    answers, _ = await classify_body(state, IRIS, json.dumps(ROW).encode(), response, background)
    return FlowerPrediction(prediction=answers[0].label.capitalize())


def _unwrapped(body: bytes) -> bytes:
    """The row of ``{"data": {…}}``; any other body as it is."""
    try:
        parsed: Any = json.loads(body)
    except (ValueError, RecursionError):
        return body
    is_wrapped = isinstance(parsed, dict) and set(parsed) == {"data"} and isinstance(parsed["data"], dict)
    return json.dumps(parsed["data"] if is_wrapped else parsed if isinstance(parsed, dict) else None).encode()
