"""Compares two models on one image: each gets a prediction of its own."""

from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from app.api.deps import AppState, State
from app.api.params import Id
from app.api.upload_body import expected_memory, image_model, read_upload
from app.db.notifications import FINISHED
from app.models.pydantic import StorableStr
from app.models.tortoise import Prediction
from app.pages.classify import image_models
from app.pages.errors import PageRoute
from app.pages.rendering import page, redirect
from app.uploads.intake import UploadBody

router = APIRouter(prefix="/catalog/comparison", include_in_schema=False, route_class=PageRoute)

WAIT_SECONDS: Final = 10
"""How long the results are waited for; afterwards the page reloads until they are there."""


@router.get("/")
async def show_form(request: Request, state: State, first: StorableStr = "", second: StorableStr = "") -> Response:
    """Choose an image for two models."""
    return page(request, "comparison-form.html", models=await image_models(state), first=first, second=second)


@router.post("/")
async def compare(request: Request, state: State, second: Annotated[StorableStr, Query(max_length=64)]) -> Response:
    """Classify an uploaded image with the model of the form, and with a second one."""
    other = await image_model(state.dispatch, second)
    with state.backlog.reserve(), state.backlog.reserve():
        async with state.upload_budget.reserve(expected_memory(request, state.settings.max_upload_bytes)):
            upload = await read_upload(request, state)
            options = replace(upload.options, model=other, requested_model=second)
            numbers = [await _submit(one, state) for one in (upload, replace(upload, options=options))]
    for number in numbers:
        await state.notifications.wait_until_finished(number, WAIT_SECONDS, state.get_prediction)
    return redirect(request, "/catalog/comparison/{}/{}".format(*numbers))


async def _submit(upload: UploadBody, state: AppState) -> int:
    outcome = (await state.intake.submit(upload)).outcome
    # Without an idempotency key, it is always a new prediction.
    assert isinstance(outcome, Prediction)
    return int(outcome.id)


@router.get("/{id}/{other}/")
async def show_results(id: Id, other: Id, request: Request, state: State) -> Response:
    """The results of two models for an image, side by side."""
    both = [state.read(await state.get_prediction(number)) for number in (id, other)]
    labels = {one.all_predictions[0].label if one.all_predictions else None for one in both}
    return page(
        request,
        "comparison.html",
        predictions=both,
        finished=all(one.status in FINISHED for one in both),
        agree=len(labels) == 1,
        first=both[0].model,
        second=both[1].model,
    )
