"""The start page and the upload form, with or without scripts."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from python_multipart.multipart import parse_options_header

from app import search
from app.api.accepting import image_model
from app.api.accepts import wants_html
from app.api.deps import Running, Runtime
from app.api.predictions import Id
from app.api.uploads import receive
from app.domain import MAX_ID, DatabaseUnavailable
from app.idempotency import Replay
from app.models.pydantic import PredictionRead
from app.models.service import ModelRead
from app.notices import FINISHED
from app.pages.rendering import page
from app.pages.routing import PageRoute

router = APIRouter(include_in_schema=False, route_class=PageRoute)

RECENT: Final = 12
CHOICES: Final = 200
"""Stored images offered for another classification."""


async def image_models(runtime: Runtime) -> list[ModelRead]:
    """Image models, default first; none if no worker has announced any."""
    try:
        models = await runtime.dispatch.models()
    except DatabaseUnavailable:
        return []
    return [model for model in models if model.status == "ok" and model.kind == "image"]


@router.get("/")
async def show_first(request: Request, runtime: Running) -> Response:
    """The upload page; JSON for programs."""
    if not wants_html(request):
        return JSONResponse({"message": "Image classifier", "docs": "/docs"}, headers={"Vary": "Accept"})
    recent = [PredictionRead.of(row) for row in await search.page(RECENT)]
    shown = page(
        request,
        "classify.html",
        models=await image_models(runtime),
        recent=recent,
        max_upload_bytes=runtime.settings.max_upload_bytes,
    )
    shown.headers["Vary"] = "Accept"
    return shown


@router.get("/classifications/")
async def show_choices(request: Request, runtime: Running) -> Response:
    """Select a stored image and a model."""
    images = [PredictionRead.of(row) for row in await search.page(CHOICES)]
    return page(request, "choose.html", images=images, models=await image_models(runtime))


@router.post("/classifications/")
async def classify(request: Request, runtime: Running) -> Response:
    """Handle the form with an upload or a stored image, and redirect to the result."""
    kind, _ = parse_options_header(request.headers.get("content-type"))
    take = _uploaded if kind == b"multipart/form-data" else _chosen
    prediction_id = await take(request, runtime)
    root = request.scope.get("root_path", "")
    return RedirectResponse(f"{root}/classifications/{prediction_id}", HTTPStatus.SEE_OTHER)


async def _uploaded(request: Request, runtime: Runtime) -> int:
    accepted, _, _ = await receive(request, runtime)
    return accepted.prediction_id if isinstance(accepted, Replay) else accepted.id


async def _chosen(request: Request, runtime: Runtime) -> int:
    form = await request.form()
    image, model = str(form.get("image", "")), str(form.get("model", ""))
    if not (image.isdecimal() and image.isascii() and 0 < int(image[:20]) <= MAX_ID):
        told: dict[str, Any] = {"type": "missing", "loc": ("body", "image"), "msg": "Choose an image", "input": image}
        raise RequestValidationError([told])
    return await reclassify(int(image), model, runtime)


async def reclassify(prediction_id: int, model: str, runtime: Runtime) -> int:
    """Ask a model about an image that is there; gives the prediction's id.

    Raises Overloaded, PredictionNotFound, PredictionUnfinished or RequestValidationError.
    """
    chosen = await image_model(runtime, model)
    with runtime.backlog.place():
        prediction = await runtime.dispatch.reclassify(prediction_id, chosen)
        runtime.backlog.count_accepted()
        runtime.dispatch.start(prediction, None)
    return int(prediction.id)


@router.get("/classifications/{id}/")
async def show_result(id: Id, request: Request, runtime: Running) -> Response:
    """The five best labels in a table; the page reloads until they are available."""
    prediction = PredictionRead.of(await runtime.get(id))
    return page(request, "result.html", prediction=prediction, finished=prediction.status in FINISHED)
