"""The page to review predictions: the least certain first, near-duplicates together."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Final, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response

from app.api.deps import AppState, CurrentCaller, State
from app.classifier.similarity import near_duplicate_groups
from app.db.crud import embeddings, reviews
from app.db.crud.reviews import Selection, Unreviewed
from app.db.crud.search import Filters
from app.domain import MAX_ID, OTHER
from app.models.pydantic import PredictionRead, StorableStr
from app.pages.classify import image_models
from app.pages.errors import PageRoute
from app.pages.label_names import to_label
from app.pages.rendering import page, redirect
from app.worker.reviewing import review_and_learn

router = APIRouter(prefix="/review", include_in_schema=False, route_class=PageRoute)

PAGE: Final = 100
MAX_LABEL: Final = 255
PredictionId = Annotated[int, Form(gt=0, le=MAX_ID)]


class Item(NamedTuple):
    """A prediction to review. ``group_size``: number of near-duplicates, itself included."""

    prediction: PredictionRead
    is_sampled: bool
    group: int
    group_size: int
    is_custom: bool


@router.get("/")
async def show_queue(
    request: Request,
    state: State,
    model: Annotated[StorableStr, Query()] = "",
    done: Annotated[int | None, Query(gt=0, le=MAX_ID)] = None,
) -> Response:
    """Predictions to review. ``done``: the one that was reviewed last, which can be undone without scripts."""
    filters = Filters(model=model)
    queue = await reviews.unreviewed(PAGE, filters)
    stored = await embeddings.of_predictions([one.prediction.id for one in queue])
    groups = await asyncio.to_thread(near_duplicate_groups, stored)
    return page(
        request,
        "review.html",
        items=_grouped(queue, groups, state),
        remaining=await reviews.count_unreviewed(filters),
        model=model,
        models=[one.name for one in await image_models(state)],
        other=OTHER,
        done=done,
    )


@router.post("/")
async def review(
    request: Request,
    state: State,
    caller: CurrentCaller,
    id: PredictionId,
    label: Annotated[StorableStr, Form(max_length=MAX_LABEL)] = "",
    text: Annotated[StorableStr, Form(max_length=MAX_LABEL)] = "",
    model: Annotated[StorableStr, Form()] = "",
    *,
    sampled: Annotated[bool, Form()] = False,
    new_label: Annotated[bool, Form()] = False,
) -> Response:
    """Set a person's label, of a button or typed; without scripts. ``new_label``: a custom model gets a new one."""
    prediction = await state.get_prediction(id)
    reviewed = False
    if chosen := label or to_label(text, prediction.model, state):
        result = await review_and_learn(
            Selection([id]), chosen, caller, state.custom, new_label=new_label, is_sampled=sampled
        )
        reviewed = bool(result.predictions)
    return redirect(request, _queue_path(model, id if reviewed else None))


@router.post("/undo/")
async def undo(
    request: Request, caller: CurrentCaller, id: PredictionId, model: Annotated[StorableStr, Form()] = ""
) -> Response:
    """Undo a review; without scripts."""
    await reviews.undo(Selection([id]), caller)
    return redirect(request, _queue_path(model))


def _queue_path(model: str, done: int | None = None) -> str:
    """The queue of the model that was chosen."""
    parameters = {name: value for name, value in (("model", model), ("done", done)) if value}
    return f"/review?{urlencode(parameters)}" if parameters else "/review"


def _grouped(queue: list[Unreviewed], groups: Mapping[int, int], state: AppState) -> list[Item]:
    """The queue in its order, but for near-duplicates, which follow the first of them."""
    sizes = Counter(groups.values())
    items = []
    for entry in queue:
        group = groups.get(entry.prediction.id, entry.prediction.id)
        is_custom = state.custom.find(entry.prediction.model) is not None
        read = state.read(entry.prediction)
        items.append(Item(read, entry.is_sampled, group, sizes.get(group, 1), is_custom))
    first = {item.group: position for position, item in reversed(list(enumerate(items)))}
    return sorted(items, key=lambda item: first[item.group])
