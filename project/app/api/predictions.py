"""Routes to read, list, correct and delete predictions."""

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
MAX_PAGE: Final = 500


def _digits_only(value: object) -> object:
    """Rejects ``1.0``, ``+1`` and ``1_0``, which pydantic accepts as integers."""
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]+", value):
        raise PydanticCustomError("int_parsing", "Input should be a valid integer")
    return value


Id = Annotated[
    int,
    BeforeValidator(_digits_only),
    Path(gt=0, description="ID of the prediction."),
    # With a validator before it, pydantic writes the bound in a way that is not JSON Schema.
    WithJsonSchema({"type": "integer", "exclusiveMinimum": 0}),
]


async def _filters(
    status: Annotated[Status | None, Query(description="Only predictions with this status.")] = None,
    model: Annotated[StorableStr, Query(description="Only predictions of this model.")] = "",
    label: Annotated[StorableStr, Query(description="Only predictions with exactly this top label.")] = "",
    min_confidence: Annotated[
        float | None, Query(ge=0, le=1, description="Only predictions with at least this confidence.")
    ] = None,
    q: Annotated[
        StorableStr,
        Query(description="Only predictions whose label or file name contains all of these words or word prefixes."),
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
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Maximum number of predictions.")] = PAGE,
    cursor: Annotated[str | None, Query(description="Cursor from the `Link` header of the previous page.")] = None,
    *,
    filters: Filtered,
) -> list[PredictionRead]:
    """Returns a page of predictions. The `Link` header with `rel="next"` leads to the next page, if there is one."""
    # Reads one more row to find out whether another page follows.
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
        int,
        Query(
            ge=0,
            description="Respond once it is finished or after this many seconds (at most MAX_WAIT_SECONDS).",
        ),
    ] = 0,
) -> PredictionRead:
    """Returns the prediction's current state. With `?wait=10`, waits up to ten seconds for it to finish."""
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
    """Sets a person's label and confidence; the model's own result stays in `all_predictions`."""
    return PredictionRead.of(await crud.correct(id, correction.top_prediction, correction.confidence, by))


@router.delete("/{id}/", summary="Delete a prediction", responses=ONE_RESPONSES)
async def delete_prediction(id: Id, runtime: Running, by: By) -> PredictionDeleted:
    """Permanently deletes the prediction and its image."""
    deleted = await crud.delete(id, by)
    await runtime.storage.delete([deleted.image_path])
    return PredictionDeleted(id=deleted.id, filename=deleted.filename)


@router.get("/{id}/history/", summary="Read a prediction's history", responses=ONE_RESPONSES)
async def read_history(id: Id) -> list[PastAnswerRead | ChangeRead]:
    """Lists earlier results (`kind` is `answer`) and changes made by people (`change`), newest first.

    The changes of a deleted prediction remain readable.
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


@router.get("/{id}/deliveries/", summary="List a prediction's webhook deliveries", responses=ONE_RESPONSES)
async def read_deliveries(id: Id) -> list[DeliveryRead]:
    """Lists the prediction's webhooks and the state of their delivery."""
    return [DeliveryRead.model_validate(row) for row in await deliveries.of_prediction(id)]
