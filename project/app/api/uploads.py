"""Having images classified: uploads, and stored images again."""

import contextlib
import re
import time
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.background import BackgroundTask

from app import idempotency
from app.api.accepting import accept, image_model
from app.api.deps import Running, Runtime, running
from app.api.errors import problem_responses
from app.api.predictions import Id
from app.api.receiving import size_of
from app.domain import (
    DatabaseUnavailable,
    IdempotencyClaim,
    PredictionNotFound,
    Status,
)
from app.idempotency import MAX_KEY_LENGTH, Replay
from app.models.pydantic import PredictionRead, Reclassification, UploadJson
from app.models.tortoise import Prediction

router = APIRouter(prefix="/predictions", tags=["predictions"])

_PREFER: Final[dict[str, Any]] = {
    "name": "prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "title": "Prefer"},
    "description": "`wait=N`: respond once the prediction is finished or after N seconds.",
}
IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": "idempotency-key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "title": "Idempotency-Key", "maxLength": MAX_KEY_LENGTH},
    "description": "Any unique text, a new one for each image. A repeated upload with the same key is not "
    "stored again but gets the first response. Keys are kept for 24 hours.",
}
_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Upload",
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "JPEG, MPO, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF; of an animation, the first frame.",
        },
        "image_url": {
            "type": "string",
            "default": "",
            "description": "URL to download the image from instead of a file, if the operator allows it.",
        },
        "model": {
            "type": "string",
            "default": "",
            "description": "Name of a model from /models; empty for the default model.",
        },
        "webhook_url": {
            "type": "string",
            "default": "",
            "description": "URL that receives a signed webhook (Standard Webhooks) when the prediction finishes.",
        },
    },
}


# The form is read, and the answer written, without FastAPI, which would take as long for it as for all the rest.
@router.post(
    "/",
    status_code=HTTPStatus.CREATED,
    response_model=PredictionRead,
    summary="Upload an image",
    response_description="The `pending` prediction; with `Prefer: wait=N`, finished if it took no longer.",
    responses=problem_responses(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
    | {
        HTTPStatus.UNPROCESSABLE_ENTITY: {
            "description": "No file, an unknown model, or an Idempotency-Key of another upload"
        }
    },
    openapi_extra={
        "parameters": [_PREFER, IDEMPOTENCY_KEY],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": _FORM},
                "application/json": {"schema": UploadJson.model_json_schema()},
            },
        },
    },
)
async def upload_image(request: Request) -> Response:
    """Stores the image and a `pending` prediction, responds immediately, and classifies the image afterwards.

    Poll `GET /predictions/{id}/` for the result, or send `Prefer: wait=10` to get it in this response.
    """
    runtime = await running(request)
    wait, key = _wait(request, runtime), idempotency_key(request)
    accepted, held, came = await receive(request, runtime, wait, key)
    if isinstance(accepted, Replay):
        return await _replayed(request, accepted, runtime, wait=wait, came=came)
    response = await _classified(accepted, runtime, HTTPStatus.CREATED, wait=wait, came=came)
    response.headers["Location"] = _location(request, accepted.id)
    if held:
        with contextlib.suppress(DatabaseUnavailable):
            await idempotency.keep_answer(held, bytes(response.body).decode())
    return response


async def receive(
    request: Request, runtime: Runtime, wait: int | None = None, key: str | None = None
) -> tuple[Prediction | Replay, IdempotencyClaim | None, float]:
    """What ``accept`` gives, when there is room for an upload; nothing of it outlives this but its row.

    Raises Overloaded.
    """
    with runtime.backlog.place():
        async with AsyncExitStack() as room:
            await room.enter_async_context(runtime.room.taken(size_of(request, runtime.settings.max_upload_bytes)))
            return await accept(request, runtime, wait, key, room)


def _location(request: Request, prediction_id: int) -> str:
    return f"{request.scope.get('root_path', '')}/predictions/{prediction_id}/"


async def _replayed(request: Request, replay: Replay, runtime: Runtime, *, wait: int | None, came: float) -> Response:
    """The first answer again; who waits gets the prediction as it has become."""
    response: Response | None = None
    if wait is not None or replay.answer is None:
        try:
            prediction = await runtime.get(replay.prediction_id)
            response = await _classified(prediction, runtime, HTTPStatus.CREATED, wait=wait, came=came)
        except PredictionNotFound:
            if replay.answer is None:
                raise
    response = response or Response(replay.answer, HTTPStatus.CREATED, media_type="application/json")
    response.headers["Location"] = _location(request, replay.prediction_id)
    response.headers["Idempotency-Replayed"] = "true"
    return response


def idempotency_key(request: Request, longest: int = MAX_KEY_LENGTH) -> str | None:
    """The header of that name. Raises RequestValidationError where it cannot be one."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    told = ""
    if len(keys) > 1:
        told = "Send only one key"
    elif not 0 < len(keys[0]) <= longest:
        told = f"The key must have 1 to {longest} characters"
    if told:
        raise RequestValidationError(
            [{"type": "idempotency_key_invalid", "loc": ("header", "idempotency-key"), "msg": told, "input": keys[-1]}]
        )
    return keys[0]


@router.post(
    "/{id}/reclassify/",
    status_code=HTTPStatus.ACCEPTED,
    response_model=PredictionRead,
    summary="Classify again",
    response_description="The prediction, `pending` again; with `Prefer: wait=N`, finished if it took no longer.",
    responses=problem_responses(
        HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE
    ),
    openapi_extra={"parameters": [_PREFER]},
)
async def reclassify_prediction(
    id: Id,
    request: Request,
    runtime: Running,
    wanted: Reclassification | None = None,
    model: Annotated[str, Query(description="Same as `model` in the body.")] = "",
) -> Response:
    """Classifies the stored image again with the given or the default model; the old result moves to the history.

    A person's correction belongs to the old result and moves with it.
    """
    came = time.monotonic()
    chosen = await image_model(runtime, wanted.model if wanted else model)
    with runtime.backlog.place():
        prediction = await runtime.dispatch.reclassify(id, chosen)
        runtime.backlog.count_accepted()
        runtime.dispatch.start(prediction, None)
    return await _classified(prediction, runtime, HTTPStatus.ACCEPTED, wait=_wait(request, runtime), came=came)


def _wait(request: Request, runtime: Runtime) -> int | None:
    # A header may have several lines (RFC 9110, 5.3).
    return _wait_seconds(", ".join(request.headers.getlist("prefer")), runtime.settings.max_wait_seconds)


async def _classified(
    prediction: Prediction,
    runtime: Runtime,
    status: HTTPStatus,
    *,
    wait: int | None,
    came: float,
) -> Response:
    """The prediction as a response: at once, to be classified afterwards, or after the wait asked for."""
    if wait is None:
        afterwards = runtime.dispatch.afterwards(prediction)
        return _response(prediction, status, BackgroundTask(afterwards) if afterwards else None)
    if prediction.status == Status.PENDING:
        finished = await runtime.dispatch.finished(prediction, came + wait - time.monotonic())
        # It is accepted, whatever happens to the row or the database now: no error may make a client send it again.
        with contextlib.suppress(DatabaseUnavailable, PredictionNotFound):
            prediction = finished or await runtime.get(prediction.id)
    response = _response(prediction, status)
    response.headers["Preference-Applied"] = f"wait={wait}"
    return response


def _response(prediction: Prediction, status: HTTPStatus, background: BackgroundTask | None = None) -> Response:
    body = PredictionRead.of(prediction).model_dump_json()
    return Response(body, status, media_type="application/json", background=background)


_WAIT: Final = re.compile(r'(?:^|,)\s*wait\s*=\s*"?0*(\d{1,9})\d*"?\s*(?:[,;]|$)', re.ASCII | re.IGNORECASE)


def _wait_seconds(prefer: str, most: int) -> int | None:
    """Seconds from ``Prefer: wait=N`` (RFC 7240, 4.3), at most ``most``; None without one."""
    found = _WAIT.search(prefer)
    return min(int(found[1]), most) if found else None
