"""Routes of the review queue, and of reviews."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from app.api.deps import AppState, CurrentCaller, State
from app.api.errors import problem_responses
from app.api.filters import Filtered, with_meanings
from app.api.middleware.trailing_slash import refuse_other_methods
from app.api.upload_response import NOT_READABLE, no_content
from app.db.crud import predictions, reviews
from app.db.crud.reviews import Selection
from app.db.crud.search import Filters
from app.domain import PredictionNotFound, PredictionUnfinished, Scope, ServiceError
from app.models.pydantic import PredictionError
from app.models.pydantic_reviews import (
    MAX_REVIEWED,
    ReviewFilter,
    ReviewItem,
    ReviewQueue,
    ReviewRequest,
    ReviewResult,
    ReviewSkipped,
)
from app.worker.reviewing import ReviewOutcome, review_and_learn

router = APIRouter(prefix="/predictions", tags=["reviews"], strict_content_type=False)

PAGE: Final = 50
MAX_PAGE: Final = 500


@router.get(
    "/review/",
    summary="List predictions to review",
    responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE),
)
async def list_unreviewed(
    filters: Filtered,
    state: State,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Maximum number of predictions.")] = PAGE,
) -> ReviewQueue:
    """Returns predictions that nobody has reviewed: the least certain first, and one in ten from a random sample.

    Reviews of the random sample estimate the accuracy of all results. Examples of custom models are left out.
    """
    items = await reviews.unreviewed(limit, filters)
    return ReviewQueue(
        remaining=await reviews.count_unreviewed(filters),
        items=[ReviewItem(prediction=state.read(one.prediction), sampled=one.is_sampled) for one in items],
    )


@router.post(
    "/review/",
    summary="Confirm or correct many predictions",
    response_model=ReviewResult,
    responses={
        **problem_responses(HTTPStatus.SERVICE_UNAVAILABLE),
        **NOT_READABLE,
    },
)
async def review(wanted: ReviewRequest, state: State, caller: CurrentCaller) -> ReviewResult | Response:
    """Sets people's labels of many predictions in one transaction, or undoes that.

    A label that is the model's own makes the verdict `confirmed`. A person's label stays in `top_prediction` if the
    image is classified again. Custom models learn from reviews as from corrections.
    """
    selection = _selection(wanted, state)
    if wanted.verdict is None:
        changed = ReviewOutcome(await reviews.undo(selection, caller), {})
    else:
        changed = await review_and_learn(
            selection, wanted.label, caller, state.custom, new_label=wanted.new_label, is_sampled=wanted.sampled
        )
    ids = [prediction.id for prediction in changed.predictions]
    result = ReviewResult(
        reviewed=len(ids),
        ids=ids,
        skipped=await _skipped(wanted, ids),
        remaining=await reviews.count(selection) if wanted.filter and len(ids) == MAX_REVIEWED else 0,
        not_learned=_described(changed.not_learned),
    )
    return result if caller.may(Scope.READ) else no_content()


def _selection(wanted: ReviewRequest, state: AppState) -> Selection:
    if wanted.filter is None:
        return Selection(ids=wanted.ids)
    return Selection(
        filters=with_meanings(_filters(wanted.filter), state), are_reviewed=wanted.verdict is None, limit=MAX_REVIEWED
    )


def _filters(wanted: ReviewFilter) -> Filters:
    return Filters(
        model=wanted.model,
        label=wanted.label,
        min_confidence=wanted.min_confidence,
        max_confidence=wanted.max_confidence,
        words=wanted.q,
    )


async def _skipped(wanted: ReviewRequest, changed: list[int]) -> list[ReviewSkipped]:
    """The requested predictions that do not exist, or have no label to confirm."""
    left = sorted(set(wanted.ids or ()) - set(changed))
    found = await predictions.get_all(left) if left else []
    errors: dict[int, ServiceError] = {}
    for number, prediction in zip(left, found, strict=True):
        if isinstance(prediction, PredictionNotFound):
            errors[number] = prediction
        elif wanted.verdict is not None:
            errors[number] = PredictionUnfinished("There is no label to confirm: the prediction has no result.")
    return _described(errors)


def _described(errors: Mapping[int, ServiceError]) -> list[ReviewSkipped]:
    return [
        ReviewSkipped(id=number, error=PredictionError(code=error.code, message=error.message))
        for number, error in errors.items()
    ]


refuse_other_methods(router, "/review/", "GET", "POST")
