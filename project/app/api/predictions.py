"""Routes to read, list, correct and delete predictions."""

from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from app.api.deps import CurrentCaller, OwnPrediction, State
from app.api.errors import PREDICTION_RESPONSES, problem_responses
from app.api.filters import Filtered
from app.api.near_duplicates import LOOK_BACK, duplicates_in
from app.api.params import Id, decode_cursor, encode_cursor
from app.api.upload_response import NOT_READABLE, no_content
from app.db.crud import audit_log, history, search, webhook_deliveries
from app.db.crud.search import Sort
from app.domain import MAX_ID, PredictionNotFound, Scope
from app.models.pydantic import PredictionCorrection, PredictionDeleted, PredictionRead
from app.models.pydantic_history import ChangeRead, DeliveryRead, PastAnswerRead
from app.outbound.addresses import origin_of
from app.storage import deletion
from app.worker.reviewing import correct_and_learn

router = APIRouter(prefix="/predictions", tags=["predictions"], strict_content_type=False)

PAGE: Final = 50
MAX_PAGE: Final = 500


@router.get(
    "/",
    summary="List predictions",
    responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE),
)
async def list_predictions(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Maximum number of predictions.")] = PAGE,
    cursor: Annotated[str | None, Query(description="Cursor from the `Link` header of the previous page.")] = None,
    sort: Annotated[
        Sort, Query(description="Order of the list. Orders by certainty only list predictions that succeeded.")
    ] = Sort.NEWEST,
    *,
    duplicates: Annotated[
        bool,
        Query(
            description="`false`: without images that are nearly the same as one listed shortly before (at most "
            f"{LOOK_BACK} predictions), so that a page may have fewer than `limit`."
        ),
    ] = True,
    filters: Filtered,
    state: State,
    caller: CurrentCaller,
) -> list[PredictionRead]:
    """Returns a page of predictions, with the scope `upload` only of the key's own.

    The `Link` header with `rel="next"` leads to the next page, if there is one.
    """
    if caller.reads_only_own:
        filters = replace(filters, key_id=caller.key_id)
    # Reads one more row to find out whether another page follows.
    order = sort.order(filters)
    after = decode_cursor(cursor, order)
    rows = await search.page(limit + 1, after, filters, order)
    if len(rows) > limit:
        rows.pop()
        next_page = request.url.include_query_params(cursor=encode_cursor(order.position(rows[-1])))
        response.headers["Link"] = f'<{next_page.path}?{next_page.query}>; rel="next"'
    hidden = {} if duplicates else await duplicates_in(rows, after, filters, order)
    return [state.read(row) for row in rows if row.id not in hidden]


@router.get("/{id}/", summary="Read a prediction", responses=PREDICTION_RESPONSES, dependencies=[OwnPrediction])
async def read_prediction(
    id: Id,
    state: State,
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
        return state.read(
            await state.notifications.wait_until_finished(
                id, min(wait, state.settings.max_wait_seconds), state.get_prediction
            )
        )
    return state.read(await state.get_prediction(id))


@router.put(
    "/{id}/",
    summary="Correct a prediction",
    response_model=PredictionRead,
    responses={
        **problem_responses(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
        **NOT_READABLE,
    },
)
async def correct_prediction(
    id: Id, correction: PredictionCorrection, state: State, caller: CurrentCaller
) -> PredictionRead | Response:
    """Sets a person's label and confidence; the model's own result stays in `all_predictions`.

    A custom model learns from corrections of its predictions: the image becomes an example of one of its labels.
    With `new_label`, a label that the model lacks is added to it.
    """
    corrected = await correct_and_learn(
        *(id, correction.top_prediction, correction.confidence, caller, state.custom), new_label=correction.new_label
    )
    return state.read(corrected) if caller.may(Scope.READ) else no_content()


@router.delete(
    "/{id}/",
    summary="Delete a prediction",
    response_model=PredictionDeleted,
    responses={**PREDICTION_RESPONSES, **NOT_READABLE},
)
async def delete_prediction(id: Id, state: State, caller: CurrentCaller) -> PredictionDeleted | Response:
    """Permanently deletes the prediction and its image."""
    deleted = await deletion.delete_prediction(state.storage, state.renditions, id, caller)
    return PredictionDeleted(id=deleted.id, filename=deleted.filename) if caller.may(Scope.READ) else no_content()


@router.get("/{id}/history/", summary="Read a prediction's history", responses=PREDICTION_RESPONSES)
async def read_history(id: Id) -> list[PastAnswerRead | ChangeRead]:
    """Lists earlier results (`kind` is `answer`) and changes made by people (`change`), newest first.

    The changes of a deleted prediction remain readable.
    """
    changes = [ChangeRead.from_row(row) for row in await audit_log.list_for_prediction(id)] if id <= MAX_ID else []
    try:
        results = [PastAnswerRead.from_row(row) for row in await history.previous_results(id)]
    except PredictionNotFound:
        if not changes:
            raise
        results = []
    return sorted([*results, *changes], key=_changed_at, reverse=True)


def _changed_at(entry: PastAnswerRead | ChangeRead) -> datetime:
    return entry.replaced_at if isinstance(entry, PastAnswerRead) else entry.changed_at


@router.get(
    "/{id}/deliveries/",
    summary="List a prediction's webhook deliveries",
    responses=PREDICTION_RESPONSES,
    dependencies=[OwnPrediction],
)
async def read_deliveries(id: Id, state: State, caller: CurrentCaller) -> list[DeliveryRead]:
    """Lists the prediction's webhooks and the state of their delivery.

    Only the key that uploaded the image sees their full URLs, which may contain secrets; others see scheme and host.
    """
    deliveries = [DeliveryRead.model_validate(row) for row in await webhook_deliveries.list_for_prediction(id)]
    if (await state.get_prediction(id)).key_id != caller.key_id:
        for delivery in deliveries:
            delivery.url = origin_of(delivery.url)
    return deliveries
