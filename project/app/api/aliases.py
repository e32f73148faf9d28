"""Routes of other services' APIs for tabular models; each calls the route that it stands for."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, BackgroundTasks, Request, Response
from fastapi.exceptions import RequestValidationError

from app.api.deps import State
from app.api.errors import problem_responses
from app.api.tabular import ROW, classify_parsed, parse, predict_defaults
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
    result = await predict_defaults(state.settings.tabular_model, state, response, background)
    return RowPrediction(**result.model_dump(), prediction=result.label)


@router.post(
    "/predict/",
    summary="Alias of POST /predict/{model} with the default model",
    responses={**_RESPONSES, HTTPStatus.UNPROCESSABLE_ENTITY.value: _INVALID},
    openapi_extra=_BODY,
)
async def predict_row(request: Request, state: State, response: Response, background: BackgroundTasks) -> RowPrediction:
    """Classifies a row, plain or as `{"data": {…}}`, with the model that the setting TABULAR_MODEL names."""
    row = _row_of(parse(await request.body()))
    (result,) = await classify_parsed(state, state.settings.tabular_model, row, response, background)
    return RowPrediction(**result.model_dump(), prediction=result.label)


@router.get("/prediction/", summary="Alias of POST /predict/iris_random_forest with one flower", responses=_RESPONSES)
async def predict_flower(state: State, response: Response, background: BackgroundTasks) -> FlowerPrediction:
    """Classifies one iris flower: a first result of a tabular model."""
    (result,) = await classify_parsed(state, IRIS, ROW, response, background)
    return FlowerPrediction(prediction=result.label.capitalize())


def _row_of(body: Any) -> Any:
    """The row of ``{"data": {…}}``, or the body itself. Raises RequestValidationError if it is a list."""
    if isinstance(body, list):
        item = {"type": "dict_type", "loc": ("body",), "msg": "Send one row, as an object", "input": body}
        raise RequestValidationError([item])
    is_wrapped = isinstance(body, dict) and set(body) == {"data"} and isinstance(body["data"], dict)
    return body["data"] if is_wrapped else body
