"""Predictions over HTTP: upload, read, list, correct, delete."""

import asyncio
import base64
import binascii
import contextlib
import re
import unicodedata
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, BackgroundTasks, File, Form, Header, Path, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from app import crud
from app.api.deps import Running, Runtime
from app.api.errors import problem_responses
from app.domain import (
    MAX_FILENAME,
    MAX_ID,
    DatabaseUnavailable,
    ModelUnknown,
    PredictionNotFound,
    Status,
    UploadTooLarge,
)
from app.manifest import Model
from app.models.pydantic import (
    PastAnswerRead,
    PredictionCorrection,
    PredictionDeleted,
    PredictionRead,
    Reclassification,
)
from app.models.tortoise import Prediction

router = APIRouter(prefix="/predictions", tags=["predictions"])

PAGE: Final = 50
LONGEST_PAGE: Final = 500
UNNAMED: Final = "unnamed"
CURSOR_BYTES: Final = 8


_Prefer = Annotated[
    str | None,
    Header(alias="prefer", description="`wait=N`: answer when the prediction is finished, or after N seconds."),
]


def _digits_only(value: object) -> object:
    """Pydantic also takes ``1.0``, ``+1`` and ``1_0`` for integers."""
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]+", value):
        raise PydanticCustomError("int_parsing", "Input should be a valid integer")
    return value


Id = Annotated[int, BeforeValidator(_digits_only), Path(gt=0, description="The prediction's id.")]


@router.post(
    "/",
    status_code=HTTPStatus.CREATED,
    summary="Upload an image",
    response_description="The prediction, `pending`; with `Prefer: wait=N` finished, if it took no longer than that.",
    responses=problem_responses(
        HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.SERVICE_UNAVAILABLE
    ),
)
async def upload_image(
    request: Request,
    response: Response,
    background: BackgroundTasks,
    runtime: Running,
    file: Annotated[
        UploadFile,
        File(description="JPEG (also MPO), PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF; the first frame counts."),
    ],
    model: Annotated[str, Form(description="Name of a model from /models; empty for the default one.")] = "",
    _prefer: _Prefer = None,
) -> PredictionRead:
    """Stores the image and a `pending` prediction, answers at once, and classifies the image right after.

    Poll `GET /predictions/{id}/` for the result, or send `Prefer: wait=10` to have it in this answer.
    """
    chosen = await _image_model(runtime, model)
    data = await file.read()
    # FastAPI would keep it, a file descriptor for each large upload, until the background task is done.
    await file.close()
    limit = runtime.settings.max_upload_bytes
    if len(data) > limit:
        raise UploadTooLarge(f"The upload is larger than {limit} bytes.")
    received = await runtime.receive(data)
    try:
        prediction = await runtime.create(
            crud.NewPrediction(
                filename=_shown_name(file.filename),
                image_path=received.image_path,
                image=received.image,
                size_bytes=len(data),
                sha256=received.sha256,
                model=chosen.name,
                model_version=chosen.version,
            )
        )
    except Exception as error:
        # Where the row may have been committed after all, it needs its image.
        if not (isinstance(error, DatabaseUnavailable) and error.maybe_done):
            await runtime.storage.delete(received.image_path)
        raise
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/predictions/{prediction.id}/"

    return PredictionRead.of(await _classified(prediction, data, request, response, background, runtime))


@router.get(
    "/",
    summary="List predictions, newest first",
    responses=problem_responses(HTTPStatus.SERVICE_UNAVAILABLE),
)
async def list_predictions(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE, description="Predictions on a page.")] = PAGE,
    cursor: Annotated[str | None, Query(description="From the `Link` header of the page before.")] = None,
    status: Annotated[Status | None, Query(description="Only predictions in this state.")] = None,
) -> list[PredictionRead]:
    """A page of predictions; the `Link` header with `rel="next"` leads to the next one, if there is one."""
    # One more than asked for tells whether another page follows.
    rows = await crud.page(limit + 1, before=_decoded(cursor), status=status)
    if len(rows) > limit:
        rows.pop()
        following = request.url.include_query_params(cursor=_encoded(rows[-1].id))
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return [PredictionRead.of(row) for row in rows]


_ONE_RESPONSES = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)


@router.get("/{id}/", summary="Read a prediction", responses=_ONE_RESPONSES)
async def read_prediction(id: Id, runtime: Running) -> PredictionRead:
    """The prediction as it stands; poll until `status` is `succeeded` or `failed`."""
    return PredictionRead.of(await runtime.get(id))


@router.put("/{id}/", summary="Correct a prediction", responses=_ONE_RESPONSES)
async def correct_prediction(id: Id, correction: PredictionCorrection) -> PredictionRead:
    """Sets a person's answer; the model's own stays in `all_predictions`."""
    return PredictionRead.of(await crud.correct(id, correction.top_prediction, correction.confidence))


@router.delete("/{id}/", summary="Delete a prediction", responses=_ONE_RESPONSES)
async def delete_prediction(id: Id, runtime: Running) -> PredictionDeleted:
    """Removes the prediction and its image for good."""
    deleted = await crud.delete(id)
    await runtime.storage.delete(deleted.image_path)
    return PredictionDeleted(id=deleted.id, filename=deleted.filename)


@router.post(
    "/{id}/reclassify/",
    status_code=HTTPStatus.ACCEPTED,
    summary="Ask another model",
    response_description="The prediction, `pending` again; with `Prefer: wait=N` finished, if it took no longer.",
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def reclassify_prediction(
    id: Id,
    request: Request,
    response: Response,
    background: BackgroundTasks,
    runtime: Running,
    wanted: Reclassification | None = None,
    model: Annotated[str, Query(description="The same as in the body.")] = "",
    _prefer: _Prefer = None,
) -> PredictionRead:
    """Classifies the stored image again, with the model named or the default one; the old answer goes into the history.

    A person's correction belongs to the old answer and goes with it.
    """
    chosen = await _image_model(runtime, wanted.model if wanted else model)
    prediction = await crud.reclassify(id, chosen.name, chosen.version)
    return PredictionRead.of(await _classified(prediction, None, request, response, background, runtime))


@router.get("/{id}/history/", summary="Read what other models said before", responses=_ONE_RESPONSES)
async def read_history(id: Id) -> list[PastAnswerRead]:
    """The answers that were replaced, newest first; empty where the prediction was never classified again."""
    return [PastAnswerRead.of(row) for row in await crud.history(id)]


async def _image_model(runtime: Runtime, name: str) -> Model:
    """The model that an upload or reclassification asks for; the default one where it names none."""
    registry = runtime.registry
    if not name or name == registry.default.name:
        return registry.default
    try:
        # Looks at the folder where the name is unknown: the model may have been dropped in just now.
        model = await asyncio.to_thread(registry.get, name)
        told = f"The model {name!r} classifies no images"
    except ModelUnknown as error:
        model, told = None, error.message
    if model is None or model.manifest.kind != "image":
        raise RequestValidationError([{"type": "model_unknown", "loc": ("body", "model"), "msg": told, "input": name}])
    return model


async def _classified(
    prediction: Prediction,
    data: bytes | None,
    request: Request,
    response: Response,
    background: BackgroundTasks,
    runtime: Runtime,
) -> Prediction:
    """The prediction as it is to be answered: at once, to be classified afterwards, or after the wait asked for."""
    # Not a parameter of the route: a header may have several lines (RFC 9110, 5.3).
    wait = _wait_seconds(", ".join(request.headers.getlist("prefer")), runtime.settings.max_wait_seconds)
    if wait is None:
        background.add_task(runtime.worker.classify, prediction.id, data)
        return prediction
    response.headers["Preference-Applied"] = f"wait={wait}"
    # The worker keeps at it when the time is over; only the waiting ends.
    done, _ = await asyncio.wait([asyncio.create_task(runtime.worker.classify(prediction.id, data))], timeout=wait)
    finished = done.pop().result() if done else None
    # It is accepted, whatever happens to the row or the database now: no error may make a client send it again.
    with contextlib.suppress(DatabaseUnavailable, PredictionNotFound):
        prediction = finished or await runtime.get(prediction.id)
    return prediction


def _shown_name(name: str | None) -> str:
    """The client's file name, fit to be stored and shown: no control characters, at most 255 characters."""
    visible = "".join("\ufffd" if unicodedata.category(c) in {"Cc", "Cs"} else c for c in name or "")
    return visible[:MAX_FILENAME] or UNNAMED


_WAIT: Final = re.compile(r'(?:^|,)\s*wait\s*=\s*"?0*(\d{1,9})\d*"?\s*(?:[,;]|$)', re.ASCII | re.IGNORECASE)


def _wait_seconds(prefer: str, most: int) -> int | None:
    """Seconds from ``Prefer: wait=N`` (RFC 7240, 4.3), at most ``most``; None without one."""
    found = _WAIT.search(prefer)
    return min(int(found[1]), most) if found else None


def _encoded(last_id: int) -> str:
    return base64.urlsafe_b64encode(last_id.to_bytes(CURSOR_BYTES, "big")).rstrip(b"=").decode()


def _decoded(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    last_id = int.from_bytes(raw, "big")
    if len(raw) != CURSOR_BYTES or last_id > MAX_ID:
        raise RequestValidationError(
            [
                {
                    "type": "cursor_invalid",
                    "loc": ("query", "cursor"),
                    "msg": "Cursor should be one from a Link header of this service",
                    "input": cursor,
                }
            ]
        )
    return last_id
