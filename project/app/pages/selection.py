"""Actions on many predictions of History: those that are selected, or all that match its filters."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from app.api.deps import AppState, CurrentCaller, State
from app.api.params import prefers_html
from app.api.upload_body import image_model
from app.db.crud import custom_models, examples, search
from app.db.crud.examples import NewExample
from app.domain import MAX_ID, Caller, LabelUnknown, PredictionNotFound, PredictionUnfinished, Use
from app.models.pydantic import StorableStr
from app.models.pydantic_custom import checked_label
from app.pages.errors import PageOrJsonRoute
from app.pages.history_filters import HistoryFilters
from app.pages.rendering import page, redirect
from app.storage.deletion import delete_predictions
from app.worker.custom_models import retrain_if_due

router = APIRouter(prefix="/history", include_in_schema=False, route_class=PageOrJsonRoute)

BATCH: Final = 500
"""Predictions of one request of a script, which sends as many as it needs."""
MAX_TO_DELETE: Final = 100_000
"""Predictions that are counted before the question whether to delete them."""
TextField = Annotated[StorableStr, Field(max_length=255)]
Action = Literal["delete", "reclassify", "teach"]


class SelectionForm(HistoryFilters):
    """What to do, and with which predictions.

    ``everything``: all that match the filters, instead of ``ids``. ``before``: only those older than this ID.
    """

    action: Action
    ids: Annotated[list[Annotated[int, Field(gt=0, le=MAX_ID)]], Field(default_factory=list, max_length=BATCH)]
    everything: bool = False
    before: Annotated[int | None, Field(gt=0, le=MAX_ID)] = None
    sure: bool = False
    with_model: TextField = ""
    """Of another classification."""
    taught_model: TextField = ""
    as_label: TextField = ""


@router.post("/selection/")
async def change_selection(
    request: Request, state: State, caller: CurrentCaller, form: Annotated[SelectionForm, Form()]
) -> Response:
    """Delete predictions, classify them again, or make them examples of a custom model.

    Scripts get the number of changes.
    """
    filters = form.filters(state)
    is_page = prefers_html(request)
    if is_page and form.action == "delete" and not form.sure:
        count = await search.count(MAX_TO_DELETE, filters) if form.everything else len(form.ids)
        return page(
            request,
            "selection.html",
            count=count,
            is_more=count == MAX_TO_DELETE,
            fields=(await request.form()).multi_items(),
            back=form.query(),
        )
    changed, last = 0, form.before
    while True:
        after = None if last is None else (last,)
        ids = [row.id for row in await search.page(BATCH, after, filters)] if form.everything else form.ids
        changed += await _change(form, ids, state, caller)
        if not form.everything or len(ids) < BATCH:
            break
        last = ids[-1]
    if is_page:
        query = form.query()
        return redirect(request, f"/history?{query}" if query else "/history")
    return JSONResponse({"changed": changed})


async def _change(form: SelectionForm, ids: Sequence[int], state: AppState, caller: Caller) -> int:
    """Change predictions; returns how many were."""
    if not ids:
        return 0
    if form.action == "delete":
        return len(await delete_predictions(state.storage, state.renditions, ids, caller))
    if form.action == "teach":
        return await _teach(ids, form.taught_model, form.as_label, caller)
    model = await image_model(state.dispatch, form.with_model)
    changed = 0
    for prediction_id in ids:
        try:
            await state.intake.reclassify(prediction_id, model)
        except (PredictionNotFound, PredictionUnfinished):
            continue
        changed += 1
    return changed


async def _teach(ids: Sequence[int], name: str, text: str, caller: Caller) -> int:
    """Raises ModelUnknown or LabelUnknown."""
    model = await custom_models.get(name)
    try:
        label = checked_label(text)
    except ValueError as error:
        raise LabelUnknown(str(error)) from error
    put = await examples.put_all(model.id, [NewExample(number, label, Use.LEARN) for number in ids], caller)
    await custom_models.add_labels(model.id, [label])
    await retrain_if_due(model, caller)
    return sum(not isinstance(one, Exception) for one in put)
