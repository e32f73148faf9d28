"""Predictions over HTTP: read, list, correct, delete."""

import re
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from app import changes, crud, deliveries, history, search
from app.api.cursors import decode_cursor, encode_cursor
from app.api.deps import By, Running
from app.api.errors import problem_responses
from app.domain import MAX_ID, PredictionNotFound, Status
from app.models.history import ChangeRead, DeliveryRead, PastAnswerRead
from app.models.pydantic import (
    PredictionCorrection,
    PredictionDeleted,
    PredictionRead,
    StorableStr,
)
from app.search import Filters

router = APIRouter(prefix="/predictions", tags=["predictions"])

PAGE: Final = 50
LONGEST_PAGE: Final = 500


def _digits_only(value: object) -> object:
    """Pydantic also takes ``1.0``, ``+1`` and ``1_0`` for integers."""
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]+", value):
        raise PydanticCustomError("int_parsing", "Input should be a valid integer")
    return value


Id = Annotated[
    int,
    BeforeValidator(_digits_only),
    Path(gt=0, description="The prediction's id."),
    # With a validator before it, the bound would be written as no JSON Schema has it.
    WithJsonSchema({"type": "integer", "exclusiveMinimum": 0}),
]


async def _filters(
    status: Annotated[Status | None, Query(description="Only predictions in this state.")] = None,
    model: Annotated[StorableStr, Query(description="Only those of this model.")] = "",
    label: Annotated[StorableStr, Query(description="Only those with this top label, as it is written.")] = "",
    min_confidence: Annotated[float | None, Query(ge=0, le=1, description="Only those that are as sure.")] = None,
    q: Annotated[
        StorableStr,
        Query(description="Only those with these words, or beginnings of words, in the label or file name."),
    ] = "",
) -> Filters:
    return Filters(status, model, label, min_confidence, q)


Filtered = Annotated[Filters, Depends(_filters)]


@router.get(
    "/",
    summary="List predictions, newest first",
    responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE),
)
async def list_predictions(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE, description="Predictions on a page.")] = PAGE,
    cursor: Annotated[str | None, Query(description="From the `Link` header of the page before.")] = None,
    *,
    filters: Filtered,
) -> list[PredictionRead]:
    """A page of predictions; the `Link` header with `rel="next"` leads to the next one, if there is one."""
    # One more than asked for tells whether another page follows.
    rows = await search.page(limit + 1, decode_cursor(cursor), filters)
    if len(rows) > limit:
        rows.pop()
        following = request.url.include_query_params(cursor=encode_cursor(rows[-1].id))
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return [PredictionRead.of(row) for row in rows]


ONE_RESPONSES = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)


@router.get("/{id}/", summary="Read a prediction", responses=ONE_RESPONSES)
async def read_prediction(
    id: Id,
    runtime: Running,
    wait: Annotated[
        int, Query(ge=0, description="Answer when it is finished, or after so many seconds (at most MAX_WAIT_SECONDS).")
    ] = 0,
) -> PredictionRead:
    """The prediction as it stands; with `?wait=10` when `status` is `succeeded` or `failed`, or after ten seconds."""
    if wait:
        return PredictionRead.of(
            await runtime.notices.finished(id, min(wait, runtime.settings.max_wait_seconds), runtime.get)
        )
    return PredictionRead.of(await runtime.get(id))


@router.put(
    "/{id}/",
    summary="Correct a prediction",
    responses=problem_responses(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def correct_prediction(id: Id, correction: PredictionCorrection, by: By) -> PredictionRead:
    """Sets a person's answer; the model's own stays in `all_predictions`."""
    return PredictionRead.of(await crud.correct(id, correction.top_prediction, correction.confidence, by))


@router.delete("/{id}/", summary="Delete a prediction", responses=ONE_RESPONSES)
async def delete_prediction(id: Id, runtime: Running, by: By) -> PredictionDeleted:
    """Removes the prediction and its image for good."""
    deleted = await crud.delete(id, by)
    await runtime.storage.delete([deleted.image_path])
    return PredictionDeleted(id=deleted.id, filename=deleted.filename)


@router.get("/{id}/history/", summary="Read what became of a prediction", responses=ONE_RESPONSES)
async def read_history(id: Id) -> list[PastAnswerRead | ChangeRead]:
    """Answers that other models gave before (`kind` is `answer`), and what people changed (`change`), newest first.

    Of a prediction that was deleted the changes are kept.
    """
    noted = [ChangeRead.of(row) for row in await changes.of_prediction(id)] if id <= MAX_ID else []
    try:
        past = [PastAnswerRead.of(row) for row in await history.past_answers(id)]
    except PredictionNotFound:
        if not noted:
            raise
        past = []
    return sorted([*past, *noted], key=_when, reverse=True)


def _when(entry: PastAnswerRead | ChangeRead) -> datetime:
    return entry.replaced_at if isinstance(entry, PastAnswerRead) else entry.changed_at


@router.get("/{id}/deliveries/", summary="Read what became of webhooks", responses=ONE_RESPONSES)
async def read_deliveries(id: Id) -> list[DeliveryRead]:
    """The webhooks of a prediction, and how far each has come."""
    return [DeliveryRead.model_validate(row) for row in await deliveries.of_prediction(id)]
