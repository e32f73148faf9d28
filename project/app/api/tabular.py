"""Routes of tabular models: rows of numbers in, labels and probabilities out."""

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, BackgroundTasks, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError

from app import metrics, tabular_log
from app.api.deps import Running, Runtime
from app.api.errors import problem_responses
from app.domain import DatabaseUnavailable, LabelScore
from app.log_events import ANSWERS_NOT_KEPT
from app.models.pydantic import RowAnswer
from app.tabular import TabularClassifier
from app.tabular_log import TabularAnswer

log = logging.getLogger(__name__)

router = APIRouter(prefix="/predict", tags=["tabular models"])

HIT: Final = "image-classifier; hit"
MISS: Final = "image-classifier; fwd=miss; stored"

Name = Annotated[str, Path(description="Name of a tabular model from /models.")]
_RESPONSES = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
_ROW = {"sepal_length": 6.3, "sepal_width": 3.3, "petal_length": 6.0, "petal_width": 2.5}
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
                "examples": {"one row": {"value": _ROW}, "two rows": {"value": [_ROW, {"petal_length": 1.4}]}},
            }
        },
    }
}


@router.get("/{model}", summary="Classify a tabular model's default row", responses=_RESPONSES)
async def predict_defaults(model: Name, runtime: Running, response: Response, background: BackgroundTasks) -> RowAnswer:
    """Classifies a row of default values: a first result without a request body."""
    classifier = await asyncio.to_thread(runtime.registry.tabular, model)
    (answer,) = await answers_of(runtime, classifier, [classifier.row_schema()], response, background)
    return answer


@router.post(
    "/{model}",
    summary="Classify one row or a list of rows",
    responses=_RESPONSES,
    openapi_extra=_BODY,
)
async def predict(
    model: Name, request: Request, runtime: Running, response: Response, background: BackgroundTasks
) -> RowAnswer | list[RowAnswer]:
    """Returns label and probabilities for the row, or for each row of a list.

    Identical requests are served from a cache: see the `Cache-Status` header.
    """
    classifier = await asyncio.to_thread(runtime.registry.tabular, model)
    body = _parsed(await request.body())
    many = isinstance(body, list)
    rows = _validated(classifier.row_schema, body)
    answers = await answers_of(runtime, classifier, rows, response, background)
    return answers if many else answers[0]


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        told = {"type": "json_invalid", "loc": ("body",), "msg": f"The body must be JSON: {error}", "input": None}
        raise RequestValidationError([told]) from error


def _validated(schema: type[BaseModel], body: Any) -> list[BaseModel]:
    """Validate the rows. Raises RequestValidationError that names each invalid feature and its bound."""
    try:
        if not isinstance(body, list):
            return [schema.model_validate(body)]
        rows: list[BaseModel] = TypeAdapter(list[schema]).validate_python(body)  # type: ignore[valid-type]
    except ValidationError as error:
        raise RequestValidationError([{**told, "loc": ("body", *told["loc"])} for told in error.errors()]) from error
    if not rows:
        told = {"type": "too_short", "loc": ("body",), "msg": "The list must contain at least one row", "input": body}
        raise RequestValidationError([told])
    return rows


async def answers_of(
    runtime: Runtime,
    classifier: TabularClassifier,
    rows: list[BaseModel],
    response: Response,
    background: BackgroundTasks,
) -> list[RowAnswer]:
    """A model's results for rows, from the cache if possible; stored after the response."""
    model, version = classifier.model.name, classifier.model.version
    values = tuple(tuple(row.model_dump().values()) for row in rows)
    cache, key = runtime.tabular_cache, (model, version, values)
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
        _log,
        [
            TabularAnswer(model, version, row.model_dump(), next(iter(likely)), likely, cached)
            for row, likely in zip(rows, probabilities, strict=True)
        ],
    )
    return [
        RowAnswer(label=next(iter(likely)), probabilities=likely, model=model, model_version=version)
        for likely in probabilities
    ]


async def _log(answers: list[TabularAnswer]) -> None:
    """Runs after the response; a database error must not affect it."""
    try:
        await tabular_log.add_all(answers)
    except DatabaseUnavailable:
        log.warning(ANSWERS_NOT_KEPT, len(answers), answers[0].model)
