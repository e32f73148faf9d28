"""Uploads of many images in one request; each is accepted or rejected on its own."""

from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from starlette.exceptions import HTTPException

from app.api.batch_body import NO_IMAGES, BatchBody
from app.api.batch_uploads import MAX_KEY_LENGTH, receive_batch
from app.api.deps import State
from app.api.early_response import EarlyResponse
from app.api.errors import problem_responses
from app.api.middleware.trailing_slash import refuse_other_methods
from app.api.params import IDEMPOTENCY_KEY, idempotency_key
from app.models.pydantic import Batch, BatchItem, PredictionError

router = APIRouter(prefix="/predictions", tags=["classification"])

_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "title": "BatchUpload",
    "properties": {
        "model": {"type": "string", "default": "", "description": "Model for the files that follow this field."},
        "webhook_url": {
            "type": "string",
            "default": "",
            "description": "URL that receives webhooks for the files that follow this field.",
        },
        "file": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": "Images or ZIP files of images; the field may have any name.",
        },
    },
}


@router.post(
    "/batch/",
    response_model=Batch,
    summary="Upload many images",
    response_description="The outcome for each image. Poll the predictions as usual.",
    responses=problem_responses(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    openapi_extra={
        "parameters": [
            {**IDEMPOTENCY_KEY, "schema": {**IDEMPOTENCY_KEY["schema"], "maxLength": MAX_KEY_LENGTH}},
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": _FORM},
                "application/zip": {"schema": {"type": "string", "format": "binary"}},
            },
        },
    },
)
async def upload_batch(
    request: Request,
    state: State,
    model: Annotated[str, Query(description="Name of a model from /models; empty for the default model.")] = "",
) -> Response:
    """Stores each image and creates its `pending` prediction while the rest of the batch is arriving.

    If the batch is sent again with the same `Idempotency-Key`, images accepted the first time are not stored again.
    """
    key = idempotency_key(request, MAX_KEY_LENGTH)
    # Rejects the batch before reading it if the backlog is full.
    state.backlog.check()
    body = BatchBody(request, state)
    await body.set_field("model", model)
    items, error = await receive_batch(body, state, key)
    if error:
        return EarlyResponse.of(_response(items, error))
    if not items:
        raise HTTPException(HTTPStatus.BAD_REQUEST, NO_IMAGES)
    return _response(items, None)


def _response(items: list[BatchItem], error: PredictionError | None) -> Response:
    accepted = sum(item.prediction is not None for item in items)
    batch = Batch(accepted=accepted, refused=len(items) - accepted, items=items, error=error)
    return Response(batch.model_dump_json(), media_type="application/json")


refuse_other_methods(router, "/batch/", "POST")
