"""The gallery and the page of one prediction."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Form, Query, Request, Response
from pydantic import StringConstraints

from app.api.deps import AppState, CurrentCaller, State
from app.api.near_duplicates import duplicates_in
from app.api.params import Id, decode_cursor, encode_cursor
from app.api.similar import similar_to
from app.db.crud import audit_log, search, statistics
from app.db.crud.history import previous_results
from app.db.crud.search import Filters
from app.db.notifications import FINISHED
from app.domain import ModelUnknown, Status
from app.models.pydantic import PredictionRead, StorableStr
from app.models.pydantic_history import PastAnswerRead
from app.pages.classify import image_models, reclassify
from app.pages.errors import PageRoute
from app.pages.history_filters import HistoryFilters
from app.pages.label_names import to_label
from app.pages.rendering import page, redirect
from app.storage.deletion import delete_prediction
from app.worker.reviewing import correct_and_learn

router = APIRouter(prefix="/history", include_in_schema=False, route_class=PageRoute)

PAGE: Final = 60
MAX_COUNTED: Final = 10_000
"""Matching predictions that are counted."""
SIMILAR: Final = 24
"""Similar images shown."""
LabelText = Annotated[StorableStr, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
CORRECTED: Final = 1.0
"""Confidence of a person's correction."""


class HistoryQuery(HistoryFilters):
    """The parameters of History's address."""

    cursor: str | None = None
    duplicates: bool = True


@router.get("/")
async def show_gallery(request: Request, state: State, query: Annotated[HistoryQuery, Query()]) -> Response:
    """Thumbnails of all or filtered predictions, newest first; near-duplicates are marked, or left out."""
    filters, order = query.filters(state), query.order()
    after = decode_cursor(query.cursor, order)
    rows = await search.page(PAGE + 1, after, filters, order)
    shown = "" if query.duplicates else "false"
    next_query = ""
    if len(rows) > PAGE:
        rows.pop()
        next_query = query.query(duplicates=shown, cursor=encode_cursor(order.position(rows[-1])))
    duplicate_of = await duplicates_in(rows, after, filters, order)
    models = await image_models(state)
    is_filtered = filters != Filters()
    newest = await search.page(1)
    return page(
        request,
        "gallery.html",
        predictions=[state.read(row) for row in rows if query.duplicates or row.id not in duplicate_of],
        duplicate_of=duplicate_of,
        duplicates=query.duplicates,
        other_query=query.query(duplicates="false" if query.duplicates else ""),
        query=query,
        filtered=is_filtered,
        matching=await search.count(MAX_COUNTED, filters) if is_filtered and after is None else None,
        max_counted=MAX_COUNTED,
        statuses=[status.value for status in Status],
        models=[model.name for model in models],
        custom_models=[model.name for model in await state.custom.all()],
        counts=[(status.value, count) for status, count in (await statistics.counts()).items()],
        next_query=next_query,
        # Everything that matches means what matched when the page was shown: later uploads are left alone.
        everything_before=newest[0].id + 1 if newest else "",
    )


@router.get("/{id}/")
async def show_one(id: Id, request: Request, state: State, why: Annotated[StorableStr, Query()] = "") -> Response:
    """One prediction; with ``why``, the heat map of a label."""
    return await _show(request, state, id, why)


async def _show(request: Request, state: AppState, prediction_id: int, why: str = "") -> Response:
    prediction = state.read(await state.get_prediction(prediction_id))
    past = [PastAnswerRead.from_row(row) for row in await previous_results(prediction_id)]
    newer, older = await search.neighbours(prediction_id)
    explained = await _explained_labels(state, prediction) if prediction.all_predictions else frozenset()
    return page(
        request,
        "prediction.html",
        prediction=prediction,
        history=past,
        newer=newer,
        older=older,
        changes=await audit_log.list_for_prediction(prediction_id),
        base_url=str(request.base_url).rstrip("/"),
        finished=prediction.status in FINISHED,
        models=[model.name for model in await image_models(state)],
        explainable=bool(explained),
        is_custom=state.custom.find(prediction.model) is not None,
        why=why if why in explained else "",
    )


async def _explained_labels(state: AppState, prediction: PredictionRead) -> frozenset[str]:
    """Labels with heat maps; none if the model has none."""
    try:
        found = await asyncio.to_thread(state.registry.get, prediction.model)
    except ModelUnknown:
        return frozenset()
    if found.manifest.kind != "image" or found.manifest.runtime != "litert":
        return frozenset()
    return frozenset(found.labels) if found.has_version(prediction.model_version) else frozenset()


@router.get("/{id}/similar/")
async def show_similar(
    id: Id, request: Request, state: State, *, duplicates: Annotated[bool, Query()] = True
) -> Response:
    """The most similar images."""
    return page(
        request,
        "similar.html",
        prediction=state.read(await state.get_prediction(id)),
        similar=await similar_to(id, state, SIMILAR, with_duplicates=duplicates),
        duplicates=duplicates,
    )


@router.post("/{id}/correction/")
async def correct_prediction(
    id: Id,
    request: Request,
    state: State,
    caller: CurrentCaller,
    label: Annotated[LabelText, Form()],
    *,
    new_label: Annotated[bool, Form()] = False,
) -> Response:
    """Set a person's label; ``new_label``: a custom model gets it, if it lacks it."""
    chosen = to_label(label, (await state.get_prediction(id)).model, state)
    await correct_and_learn(id, chosen, CORRECTED, caller, state.custom, new_label=new_label)
    return redirect(request, f"/history/{id}")


@router.post("/{id}/reclassification/")
async def reclassify_prediction(
    id: Id, request: Request, state: State, model: Annotated[StorableStr, Form()] = ""
) -> Response:
    """Classify again with another model; the old result stays in the history."""
    return redirect(request, f"/history/{await reclassify(id, model, state)}")


@router.post("/{id}/deletion/")
async def delete(
    id: Id, request: Request, state: State, caller: CurrentCaller, sure: Annotated[str, Form()] = ""
) -> Response:
    """Ask for confirmation, then delete."""
    if sure != "yes":
        return page(request, "deletion.html", prediction=state.read(await state.get_prediction(id)))
    await delete_prediction(state.storage, state.renditions, id, caller)
    return redirect(request, "/history")
