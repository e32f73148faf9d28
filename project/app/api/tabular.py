"""Routes of tabular models: rows of numbers in, labels and probabilities out."""

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, BackgroundTasks, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.api.deps import AppState, State
from app.api.errors import problem_responses
from app.classifier.tabular_classifier import TabularClassifier
from app.db.crud import tabular_predictions
from app.db.crud.tabular_predictions import TabularResult
from app.domain import DatabaseUnavailable, LabelScore
from app.models.pydantic import RowAnswer
from app.observability import metrics
from app.observability.log_events import ANSWERS_NOT_KEPT

log = logging.getLogger(__name__)

router = APIRouter(prefix="/predict", tags=["tabular models"], strict_content_type=False)

HIT: Final = "image-classifier; hit"
MISS: Final = "image-classifier; fwd=miss; stored"

Name = Annotated[str, Path(description="Name of a tabular model from /models.")]
_RESPONSES = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
ROW: Final = {"sepal_length": 6.3, "sepal_width": 3.3, "petal_length": 6.0, "petal_width": 2.5}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "One row or a list of rows; /models lists each model's features, their bounds and defaults.",
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        {"type": "object", "additionalProperties": {"type": "number"}},
                        {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "number"}}},
                    ]
                },
                "examples": {"one row": {"value": ROW}, "two rows": {"value": [ROW, {"petal_length": 1.4}]}},
            }
        },
    }
}


@router.get("/{model}", summary="Classify a tabular model's default row", responses=_RESPONSES)
async def predict_defaults(model: Name, state: State, response: Response, background: BackgroundTasks) -> RowAnswer:
    """Classifies a row of default values: a first result without a request body."""
    classifier = await asyncio.to_thread(state.registry.tabular, model)
    (result,) = await classify_rows(state, classifier, [classifier.row_schema()], response, background)
    return result


@router.post(
    "/{model}",
    summary="Classify one row or a list of rows",
    responses=_RESPONSES,
    openapi_extra=_BODY,
)
async def predict(
    model: Name, request: Request, state: State, response: Response, background: BackgroundTasks
) -> RowAnswer | list[RowAnswer]:
    """Returns label and probabilities for the row, or for each row of a list.

    Identical requests are served from a cache: see the `Cache-Status` header.
    """
    body = parse(await request.body())
    results = await classify_parsed(state, model, body, response, background)
    return results if isinstance(body, list) else results[0]


async def classify_parsed(
    state: AppState, model: str, body: Any, response: Response, background: BackgroundTasks
) -> list[RowAnswer]:
    """A model's results for a row, or for each row of a list.

    Raises ModelUnknown, ModelBroken or RequestValidationError.
    """
    classifier = await asyncio.to_thread(state.registry.tabular, model)
    return await classify_rows(state, classifier, _validate(classifier.row_schema, body), response, background)


def parse(body: bytes) -> Any:
    """A request's body. Raises RequestValidationError if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        item = {"type": "json_invalid", "loc": ("body",), "msg": f"The body must be JSON: {error}", "input": None}
        raise RequestValidationError([item]) from error


def _validate(schema: type[BaseModel], body: Any) -> list[BaseModel]:
    """Validate the rows. Raises RequestValidationError that names each invalid feature and its bound."""
    try:
        if not isinstance(body, list):
            return [schema.model_validate(body)]
        rows: list[BaseModel] = TypeAdapter(list[schema]).validate_python(body)  # type: ignore[valid-type]
    except ValidationError as error:
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in error.errors()]) from error
    if not rows:
        item = {"type": "too_short", "loc": ("body",), "msg": "The list must contain at least one row", "input": body}
        raise RequestValidationError([item])
    return rows


async def classify_rows(
    state: AppState,
    classifier: TabularClassifier,
    rows: list[BaseModel],
    response: Response,
    background: BackgroundTasks,
) -> list[RowAnswer]:
    """A model's results for rows, from the cache if possible; stored after the response."""
    model, version = classifier.model.name, classifier.model.version
    values = tuple(tuple(row.model_dump().values()) for row in rows)
    cache, key = state.tabular_cache, (model, version, values)
    scores: list[list[LabelScore]] | None = cache.get(key)
    cached = scores is not None
    (metrics.CACHE_HITS if cached else metrics.CACHE_MISSES).labels("predict").inc()
    if scores is None:
        scores = await asyncio.to_thread(classifier.classify, values)
        # Lists longer than the cache are not cached.
        if cache.maxsize >= len(rows):
            cache[key] = scores
    response.headers["Cache-Status"] = HIT if cached else MISS if key in cache else MISS.removesuffix("; stored")
    probabilities = [{score.label: score.confidence for score in row} for row in scores]
    background.add_task(
        _store,
        [
            TabularResult(model, version, row.model_dump(), next(iter(likely)), likely, cached)
            for row, likely in zip(rows, probabilities, strict=True)
        ],
    )
    return [
        RowAnswer(label=next(iter(likely)), probabilities=likely, model=model, model_version=version)
        for likely in probabilities
    ]


async def _store(results: list[TabularResult]) -> None:
    """Runs after the response; a database error must not affect it."""
    try:
        await tabular_predictions.add_all(results)
    except DatabaseUnavailable:
        log.warning(ANSWERS_NOT_KEPT, len(results), results[0].model)
