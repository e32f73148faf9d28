"""The page to review predictions: the least certain first, look-alikes together."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Form, Query, Request, Response

from app.api.deps import CurrentCaller, State
from app.classifier.similarity import look_alikes
from app.db.crud import embeddings, reviews
from app.db.crud.reviews import Selection
from app.db.crud.search import Filters
from app.domain import MAX_ID, OTHER, PredictionNotFound
from app.models.pydantic import PredictionRead, StorableStr
from app.pages.classify import image_models
from app.pages.errors import PageRoute
from app.pages.rendering import page, redirect, to_model_label
from app.worker.reviewing import review_and_learn

router = APIRouter(prefix="/review", include_in_schema=False, route_class=PageRoute)

PAGE: Final = 100
MAX_LABEL: Final = 255
PredictionId = Annotated[int, Form(gt=0, le=MAX_ID)]


class Item(NamedTuple):
    """A prediction to review. ``look_alikes``: number of images in its group, itself included."""

    prediction: PredictionRead
    is_sampled: bool
    group: int
    look_alikes: int


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
    groups = look_alikes(await embeddings.of_predictions([one.prediction.id for one in queue]))
    return page(
        request,
        "review.html",
        items=_grouped([(PredictionRead.from_row(one.prediction), one.is_sampled) for one in queue], groups),
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
    *,
    sampled: Annotated[bool, Form()] = False,
) -> Response:
    """Set a person's label, of a button or typed; without scripts."""
    prediction = await state.get_prediction(id)
    typed = text if state.custom.find(prediction.model) else to_model_label(text)
    if chosen := label or typed:
        await review_and_learn(Selection([id]), chosen, caller, state.custom, is_sampled=sampled)
    return redirect(request, f"/review?done={id}")


@router.post("/undo/")
async def undo(request: Request, caller: CurrentCaller, id: PredictionId) -> Response:
    """Take a review back; without scripts."""
    if not await reviews.withdraw(Selection([id]), caller):
        raise PredictionNotFound
    return redirect(request, "/review")


def _grouped(queue: list[tuple[PredictionRead, bool]], groups: Mapping[int, int]) -> list[Item]:
    """The queue in its order, but for look-alikes, which follow the first of them."""
    sizes = Counter(groups.values())
    items = [
        Item(prediction, is_sampled, group, sizes.get(group, 1))
        for prediction, is_sampled in queue
        for group in [groups.get(prediction.id, prediction.id)]
    ]
    first = {item.group: position for position, item in reversed(list(enumerate(items)))}
    return sorted(items, key=lambda item: first[item.group])
