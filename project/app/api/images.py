"""Images of predictions, as people look at them."""

from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from app.api.deps import Running, Runtime
from app.api.errors import Responses, problem_responses
from app.api.predictions import Id
from app.domain import NotExplainable, PredictionUnfinished, Status
from app.models.tortoise import Prediction

router = APIRouter(prefix="/predictions", tags=["predictions"])

SMALLEST: Final = 16
SIZE: Final = 1024
LARGEST: Final = 2048
# An image never changes, and its id is never another's; what speaks for a label changes with the model.
FOR_GOOD: Final = "private, max-age=86400, immutable"
FOR_NOW: Final = "private, no-cache"


def _responses(media_type: str) -> Responses:
    shown: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    return {
        200: {"description": "The image", "content": {media_type: shown}},
        304: {"description": "The image has not changed (`If-None-Match`)"},
        **problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE),
    }


@router.get("/{id}/image/", summary="Look at the image", response_class=Response, responses=_responses("image/jpeg"))
async def read_image(
    id: Id,
    request: Request,
    runtime: Running,
    size: Annotated[
        int, Query(ge=SMALLEST, le=LARGEST, description="Pixels of the longer side, at most; it is never enlarged.")
    ] = SIZE,
) -> Response:
    """The image as a JPEG, whatever it was uploaded as: upright, and without its metadata."""
    prediction = await runtime.get(id)
    etag = f'"{prediction.sha256[:32]}-{size}"'
    if _is_known(request, etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_cached(etag, FOR_GOOD))
    async with runtime.shown_room.taken(prediction.size_bytes):
        image = await runtime.engine.render(await _stored(prediction, runtime), size)
    return Response(image, headers=_cached(etag, FOR_GOOD), media_type="image/jpeg")


@router.get(
    "/{id}/heatmap/",
    summary="Look at what speaks for a label",
    response_class=Response,
    responses=_responses("image/png"),
)
async def read_heat_map(
    id: Id,
    request: Request,
    runtime: Running,
    label: Annotated[str, Query(description="Any label of the model's; empty for its best one.")] = "",
) -> Response:
    """The image as a PNG, with its class activation map for a label laid over it: what is bright speaks for the label.

    Exact for models that end in average pooling and one dense layer, as MobileNetV2 does; 404 for others.
    """
    prediction = await runtime.get(id)
    if prediction.status == Status.FAILED:
        raise NotExplainable("The prediction failed: there is no label that anything speaks for.")
    if not prediction.all_predictions:
        raise PredictionUnfinished
    wanted = label or str(prediction.all_predictions[0]["label"])
    # As in ETags: no quotes, no other scripts.
    of = f"{prediction.model}-{prediction.model_version}"
    etag = f'"{prediction.sha256[:32]}-{of}-{wanted.encode().hex()}"'
    if _is_known(request, etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_cached(etag, FOR_NOW))
    async with runtime.shown_room.taken(prediction.size_bytes):
        image = await runtime.engine.explain(prediction.model, wanted, await _stored(prediction, runtime))
    return Response(image, headers=_cached(etag, FOR_NOW), media_type="image/png")


async def _stored(prediction: Prediction, runtime: Runtime) -> bytes:
    return await runtime.storage.read(prediction.image_path)


def _is_known(request: Request, etag: str) -> bool:
    """Whether a client has it already (RFC 9110, 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    return etag in tags or "*" in tags


def _cached(etag: str, control: str) -> dict[str, str]:
    return {"ETag": etag, "Cache-Control": control}
