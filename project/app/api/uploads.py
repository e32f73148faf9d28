"""Having images classified: uploads, and stored images again."""

import asyncio
import contextlib
import re
import time
import unicodedata
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.background import BackgroundTask

from app import crud
from app.api.deps import Running, Runtime, running
from app.api.errors import problem_responses
from app.api.forms import Part, read_form
from app.api.predictions import Id
from app.api.receiving import size_of
from app.dispatch import ImageModel
from app.domain import MAX_FILENAME, DatabaseUnavailable, ModelUnknown, PredictionNotFound, Status, UploadTooLarge
from app.models.pydantic import PredictionRead, Reclassification
from app.models.tortoise import Prediction

router = APIRouter(prefix="/predictions", tags=["predictions"])

UNNAMED: Final = "unnamed"

_PREFER: Final[dict[str, Any]] = {
    "name": "prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "title": "Prefer"},
    "description": "`wait=N`: answer when the prediction is finished, or after N seconds.",
}
_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Upload",
    "required": ["file"],
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "JPEG (also MPO), PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF; the first frame counts.",
        },
        "model": {
            "type": "string",
            "default": "",
            "description": "Name of a model from /models; empty for the default one.",
        },
    },
}


# The form is read, and the answer written, without FastAPI, which would take as long for it as for all the rest.
@router.post(
    "/",
    status_code=HTTPStatus.CREATED,
    response_model=PredictionRead,
    summary="Upload an image",
    response_description="The prediction, `pending`; with `Prefer: wait=N` finished, if it took no longer than that.",
    responses=problem_responses(
        *(HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.SERVICE_UNAVAILABLE)
    )
    | {HTTPStatus.UNPROCESSABLE_ENTITY: {"description": "No file, or an unknown model"}},
    openapi_extra={
        "parameters": [_PREFER],
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}},
    },
)
async def upload_image(request: Request) -> Response:
    """Stores the image and a `pending` prediction, answers at once, and classifies the image right after.

    Poll `GET /predictions/{id}/` for the result, or send `Prefer: wait=10` to have it in this answer.
    """
    runtime = await running(request)
    wait = _wait(request, runtime)
    with runtime.backlog.place():
        async with runtime.room.taken(size_of(request, runtime.settings.max_upload_bytes)):
            # Nothing of the upload outlives this but its row: while clients wait, others are received.
            prediction, came = await _accept(request, runtime, wait)
    response = await _classified(prediction, runtime, HTTPStatus.CREATED, wait=wait, came=came)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/predictions/{prediction.id}/"
    return response


async def _accept(request: Request, runtime: Runtime, wait: int | None) -> tuple[Prediction, float]:
    """Receive an upload, make its row, and start what classifies it; with the time it came, by ``time.monotonic``."""
    form = await read_form(request)
    # A wait counts from the whole request (RFC 7240, 4.3), not from its first byte.
    came = time.monotonic()
    file = _file(form.get("file"))
    chosen = await _image_model(runtime, _field(form.get("model")))
    data = file.data
    limit = runtime.settings.max_upload_bytes
    if len(data) > limit:
        raise UploadTooLarge(f"The upload is larger than {limit} bytes.")
    inspected = await runtime.inspect(data)
    storing = asyncio.create_task(runtime.storage.put(data, inspected.image.extension))
    # Who waits learns the answer with the row; the disk works meanwhile.
    try:
        attempt = await runtime.dispatch.attempt(chosen.name, data, came + wait - time.monotonic()) if wait else None
        image_path = await asyncio.shield(storing)
    except asyncio.CancelledError:
        # The service stops, and answers nobody any longer: an image without a row would stay for ever.
        await runtime.storage.delete([await storing])
        raise
    new = crud.NewPrediction(
        filename=_shown_name(file.filename),
        image_path=image_path,
        image=inspected.image,
        size_bytes=len(data),
        sha256=inspected.sha256,
        model=chosen.name,
        model_version=attempt.version if attempt and attempt.version else chosen.version,
        came=came,
        attempt=attempt,
    )
    try:
        prediction = await runtime.dispatch.create(new)
    except Exception as error:
        # Where the row may have been committed after all, it needs its image.
        if not (isinstance(error, DatabaseUnavailable) and error.maybe_done):
            await runtime.storage.delete([image_path])
        raise
    if prediction.status == Status.PENDING:
        runtime.backlog.note_pending()
        runtime.dispatch.start(prediction, data)
    return prediction, came


@router.post(
    "/{id}/reclassify/",
    status_code=HTTPStatus.ACCEPTED,
    response_model=PredictionRead,
    summary="Ask another model",
    response_description="The prediction, `pending` again; with `Prefer: wait=N` finished, if it took no longer.",
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE),
    openapi_extra={"parameters": [_PREFER]},
)
async def reclassify_prediction(
    id: Id,
    request: Request,
    runtime: Running,
    wanted: Reclassification | None = None,
    model: Annotated[str, Query(description="The same as in the body.")] = "",
) -> Response:
    """Classifies the stored image again, with the model named or the default one; the old answer goes into the history.

    A person's correction belongs to the old answer and goes with it.
    """
    came = time.monotonic()
    chosen = await _image_model(runtime, wanted.model if wanted else model)
    with runtime.backlog.place():
        prediction = await runtime.dispatch.reclassify(id, chosen)
        runtime.backlog.note_pending()
        runtime.dispatch.start(prediction, None)
    return await _classified(prediction, runtime, HTTPStatus.ACCEPTED, wait=_wait(request, runtime), came=came)


def _file(part: Part | None) -> Part:
    if part is None or part.filename is None:
        raise RequestValidationError(
            [{"type": "missing", "loc": ("body", "file"), "msg": "Field required", "input": None}]
        )
    return part


def _field(part: Part | None) -> str:
    return part.data.decode(errors="replace") if part else ""


async def _image_model(runtime: Runtime, name: str) -> ImageModel:
    """The model that an upload or reclassification asks for; the default one where it names none."""
    try:
        return await runtime.dispatch.image_model(name)
    except ModelUnknown as error:
        told = {"type": "model_unknown", "loc": ("body", "model"), "msg": error.message, "input": name}
        raise RequestValidationError([told]) from error


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


def _shown_name(name: str | None) -> str:
    """The client's file name, fit to be stored and shown: no control characters, at most 255 characters."""
    visible = "".join("\ufffd" if unicodedata.category(c) in {"Cc", "Cs"} else c for c in name or "")
    return visible[:MAX_FILENAME] or UNNAMED


_WAIT: Final = re.compile(r'(?:^|,)\s*wait\s*=\s*"?0*(\d{1,9})\d*"?\s*(?:[,;]|$)', re.ASCII | re.IGNORECASE)


def _wait_seconds(prefer: str, most: int) -> int | None:
    """Seconds from ``Prefer: wait=N`` (RFC 7240, 4.3), at most ``most``; None without one."""
    found = _WAIT.search(prefer)
    return min(int(found[1]), most) if found else None
