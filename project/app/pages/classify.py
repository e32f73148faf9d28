"""The start page and the upload form, with or without scripts."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from python_multipart.multipart import parse_options_header

from app.api.batch_body import BatchBody
from app.api.batch_uploads import receive_batch
from app.api.deps import AppState, State
from app.api.errors import problem_responses
from app.api.params import Id, prefers_html
from app.api.upload_body import image_model
from app.api.uploads import accept_upload
from app.db.crud import search
from app.db.crud.idempotency import Replay
from app.db.crud.predictions import id_of_image
from app.db.notifications import FINISHED
from app.domain import MAX_ID, DatabaseUnavailable
from app.models.pydantic import ClassificationTask
from app.models.pydantic_system import ModelRead
from app.pages.errors import PageOrJsonRoute, PageRoute, error_page
from app.pages.rendering import page, redirect
from app.pages.translation import mark
from app.storage.keys import is_key

router = APIRouter(include_in_schema=False, route_class=PageRoute)
alias_router = APIRouter(tags=["aliases"], route_class=PageOrJsonRoute)

RECENT: Final = 12
NO_IMAGES: Final = mark("No images found.")
MAX_CHOICES: Final = 200
"""Stored images offered for another classification."""


async def image_models(state: AppState) -> list[ModelRead]:
    """Image models, default first; none if no worker has announced any."""
    try:
        models = await state.dispatch.models()
    except DatabaseUnavailable:
        return []
    return [model for model in models if model.status == "ok" and model.kind == "image"]


@router.get("/")
async def show_start(request: Request, state: State) -> Response:
    """The upload page; JSON for programs."""
    if not prefers_html(request):
        return JSONResponse(
            {"message": "Image classifier", "docs": request.scope.get("root_path", "") + "/docs"},
            headers={"Vary": "Accept"},
        )
    recent = [state.read(row) for row in await search.page(RECENT)]
    response = page(
        request,
        "classify.html",
        models=await image_models(state),
        recent=recent,
        chosen_model=request.query_params.get("model", ""),
        max_upload_bytes=state.settings.max_upload_bytes,
    )
    response.headers["Vary"] = "Accept"
    return response


@router.get("/classifications/")
async def show_stored_images(request: Request, state: State) -> Response:
    """Select a stored image and a model."""
    images = [state.read(row) for row in await search.page(MAX_CHOICES)]
    return page(request, "choose.html", images=images, models=await image_models(state))


@alias_router.post("/classifications/", include_in_schema=False)
async def classify(request: Request, state: State) -> Response:
    """Handle the form with an upload or a stored image, and redirect to the result."""
    kind, _ = parse_options_header(request.headers.get("content-type"))
    handle = _upload if kind == b"multipart/form-data" else _classify_stored
    prediction_id = await handle(request, state)
    return redirect(request, f"/classifications/{prediction_id}")


@router.post("/shared/")
async def accept_shared_images(request: Request, state: State) -> Response:
    """Upload the images that a phone shares with the installed page, and show them."""
    # Rejects them before reading if the backlog is full.
    state.backlog.check()
    body = BatchBody(request, state)
    await body.set_field("model", "")
    items, error = await receive_batch(body, state)
    ids = [item.prediction.id for item in items if item.prediction]
    if not ids:
        errors = [one for one in (error, *(item.error for item in items)) if one]
        return error_page(request, HTTPStatus.BAD_REQUEST, errors[0].message if errors else NO_IMAGES)
    return redirect(request, f"/history/{ids[0]}" if len(ids) == 1 else f"/history?only={','.join(map(str, ids))}")


async def _upload(request: Request, state: AppState) -> int:
    submission = await accept_upload(request, state)
    outcome = submission.outcome
    return outcome.prediction_id if isinstance(outcome, Replay) else outcome.id


async def _classify_stored(request: Request, state: AppState) -> int:
    form = await request.form()
    # image_id and model_id: what clients of other services send. An image may be named as in /info.
    image = str(form.get("image") or form.get("image_id") or "")
    model = str(form.get("model") or form.get("model_id") or "")
    if is_key(image):
        return await reclassify(await id_of_image(image), model, state)
    if not (image.isdecimal() and image.isascii() and 0 < int(image[:20]) <= MAX_ID):
        item: dict[str, Any] = {"type": "missing", "loc": ("body", "image"), "msg": "Choose an image", "input": image}
        raise RequestValidationError([item])
    return await reclassify(int(image), model, state)


async def reclassify(prediction_id: int, model: str, state: AppState) -> int:
    """Classify a stored image again; returns the prediction's ID.

    Raises Overloaded, PredictionNotFound, PredictionUnfinished or RequestValidationError.
    """
    chosen = await image_model(state.dispatch, model)
    prediction = await state.intake.reclassify(prediction_id, chosen)
    return int(prediction.id)


@alias_router.get(
    "/classifications/{id}/",
    summary="Alias of GET /predictions/{id}",
    response_model=ClassificationTask,
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def show_result(id: Id, request: Request, state: State) -> Response:
    """State and result of a classification; for browsers the page of the result, which reloads until it is there."""
    prediction = state.read(await state.get_prediction(id))
    if prefers_html(request):
        response = page(request, "result.html", prediction=prediction, finished=prediction.status in FINISHED)
    else:
        response = Response(
            ClassificationTask.from_prediction(prediction).model_dump_json(), media_type="application/json"
        )
    response.headers["Vary"] = "Accept"
    return response
