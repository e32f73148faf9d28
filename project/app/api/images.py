"""Renditions of images for people."""

from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from app.api.deps import AppState, OwnPrediction, State
from app.api.errors import Responses, problem_responses
from app.api.params import Id
from app.domain import NotExplainable, PredictionUnfinished, Status
from app.models.tortoise import Prediction

router = APIRouter(prefix="/predictions", tags=["images"])

MIN_SIZE: Final = 16
SIZE: Final = 1024
MAX_SIZE: Final = 2048
DRAWING: Final = 2
"""Changes with the way in which heat maps are drawn, so that older ones are not shown from a cache."""
CACHE_REVALIDATE: Final = "private, no-cache"
"""Browsers ask each time, so that a deleted image, or one whose key was revoked, is no longer shown."""


def _responses(media_type: str) -> Responses:
    shown: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    return {
        200: {"description": "The image", "content": {media_type: shown}},
        304: {"description": "The image has not changed (`If-None-Match`)"},
        **problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE),
    }


@router.get(
    "/{id}/image/",
    summary="View the image",
    response_class=Response,
    responses=_responses("image/jpeg"),
    dependencies=[OwnPrediction],
)
async def read_image(
    id: Id,
    request: Request,
    state: State,
    size: Annotated[
        int,
        Query(
            ge=MIN_SIZE,
            le=MAX_SIZE,
            description="Maximum length of the longer side in pixels; images are never enlarged.",
        ),
    ] = SIZE,
) -> Response:
    """The image as a JPEG, upright and without metadata."""
    prediction = await state.get_prediction(id)
    etag = f'"{prediction.sha256[:32]}-{size}"'
    if _is_cached(request, etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_cache_headers(etag))

    async def render() -> bytes:
        async with state.rendering_budget.reserve(prediction.size_bytes):
            return await state.renderer.render(await _read_stored(prediction, state), size)

    image = await state.renditions.get(prediction.image_path, f"image {size}", render)
    return Response(image, headers=_cache_headers(etag), media_type="image/jpeg")


@router.get(
    "/{id}/heatmap/",
    summary="View a label's heat map",
    response_class=Response,
    responses=_responses("image/png"),
)
async def read_heat_map(
    id: Id,
    request: Request,
    state: State,
    label: Annotated[str, Query(description="Any label of the model; empty for the best one.")] = "",
    *,
    overlay: Annotated[
        bool, Query(description="Only the heat map, transparent elsewhere, to draw over the image with any opacity.")
    ] = False,
) -> Response:
    """The image as a PNG with the class activation map of a label on top: bright areas support the label.

    A line surrounds the area that the model sees, if that is not the whole image.

    Exact for models that end in average pooling and one dense layer, such as MobileNetV2; 404 for others.
    """
    prediction = await state.get_prediction(id)
    if prediction.status == Status.FAILED:
        raise NotExplainable("The prediction failed, so it has no heat map.")
    if not prediction.all_predictions:
        raise PredictionUnfinished
    if state.custom.find(prediction.model):
        raise NotExplainable("Custom models have no heat maps. Classify the image with their base to see one.")
    label = label or str(prediction.all_predictions[0]["label"])
    # ETags must not contain quotes or non-ASCII characters.
    drawing = f"{prediction.model}-{prediction.model_version}-{DRAWING}{'-overlay' if overlay else ''}"
    etag = f'"{prediction.sha256[:32]}-{drawing}-{label.encode().hex()}"'
    if _is_cached(request, etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_cache_headers(etag))

    async def explain() -> bytes:
        async with state.rendering_budget.reserve(prediction.size_bytes):
            data = await _read_stored(prediction, state)
            model = (prediction.model, prediction.model_version)
            return await state.renderer.explain(*model, label, data, overlay=overlay)

    image = await state.renditions.get(prediction.image_path, f"heat map {drawing} {label}", explain)
    return Response(image, headers=_cache_headers(etag), media_type="image/png")


async def _read_stored(prediction: Prediction, state: AppState) -> bytes:
    return await state.storage.read(prediction.image_path)


def _is_cached(request: Request, etag: str) -> bool:
    """Whether the client has this version already (RFC 9110, 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    return etag in tags or "*" in tags


def _cache_headers(etag: str) -> dict[str, str]:
    return {"ETag": etag, "Cache-Control": CACHE_REVALIDATE}
