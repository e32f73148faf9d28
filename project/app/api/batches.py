"""Uploads of many images in one request; each is accepted or rejected on its own."""

import asyncio
import logging
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.api.batch_body import NO_IMAGES, BatchBody
from app.api.deps import AppState, State
from app.api.early_response import EarlyResponse
from app.api.errors import problem_responses, status_of
from app.api.middleware.trailing_slash import refuse_other_methods
from app.api.params import IDEMPOTENCY_KEY, idempotency_key
from app.api.upload_response import current_or_stored
from app.db.crud import idempotency
from app.db.crud.idempotency import Replay
from app.domain import DatabaseUnavailable, NotAnImage, ServiceError, UploadTooLarge
from app.models.pydantic import Batch, BatchItem, PredictionError, PredictionRead
from app.observability.log_events import BATCH_IMAGE_ERROR
from app.uploads.intake import UploadBody, UploadOptions, display_filename
from app.uploads.memory_budget import MemoryBudget

log = logging.getLogger(__name__)

router = APIRouter(prefix="/predictions", tags=["predictions"])

MAX_CONCURRENT: Final = 32
"""Images of one batch that are stored at the same time, so that their rows are created together."""
MAX_KEY_LENGTH: Final = 200
IMAGES_IN_MEMORY: Final = 3
"""Of the maximum size: those being stored, one that is arriving, and its chunks while they are joined."""
MAX_QUEUE_SECONDS: Final = 20.0
"""How long a batch may wait for others before the client is asked to retry."""
REJECTIONS: Final = (ServiceError, HTTPException, RequestValidationError)
"""What ends a batch, or rejects one of its images."""

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
    batch = _Batch(body, state, key)
    async with state.batch_budget.reserve(IMAGES_IN_MEMORY * state.settings.max_upload_bytes, MAX_QUEUE_SECONDS):
        try:
            await batch.receive()
        except REJECTIONS as error:
            if not batch.items:
                raise
            return EarlyResponse.of(_response(batch.items, _describe(error)))
    if not batch.items:
        raise HTTPException(HTTPStatus.BAD_REQUEST, NO_IMAGES)
    return _response(batch.items, None)


@dataclass(frozen=True, slots=True)
class _BatchEntry:
    """An image of a batch: its bytes, or why they cannot be read."""

    number: int
    name: str | None
    data: bytes | ServiceError
    options: UploadOptions
    received_at: float


class _Batch:
    """A batch that is being received, and the outcomes so far."""

    def __init__(self, body: BatchBody, state: AppState, key: str | None) -> None:
        self.items: list[BatchItem] = []
        self._body = body
        self._state = state
        self._key = key
        self._max_images = state.settings.max_batch_images
        self._budget = MemoryBudget(state.settings.max_upload_bytes)
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def receive(self) -> None:
        """Accept images until the end of the batch; returns, or raises, once all received images are done."""
        rejection: Exception | None = None
        count = 0
        async with asyncio.TaskGroup() as tasks:
            try:
                async for name, data in self._body:
                    count += 1
                    if count > self._max_images:
                        raise UploadTooLarge(f"The batch has more than {self._max_images} images.")
                    reservation = AsyncExitStack()
                    await reservation.enter_async_context(self._slots)
                    size = 0 if isinstance(data, ServiceError) else len(data)
                    await reservation.enter_async_context(self._budget.reserve(size))
                    entry = _BatchEntry(count, name, data, self._body.options, time.monotonic())
                    tasks.create_task(self._process(entry, reservation))
            except REJECTIONS as error:
                rejection = error
        self.items.sort(key=lambda item: item.number)
        if rejection:
            raise rejection

    async def _process(self, entry: _BatchEntry, reservation: AsyncExitStack) -> None:
        prediction, error, status = None, None, int(HTTPStatus.CREATED)
        async with reservation:
            try:
                prediction = await self._submit(entry)
            except REJECTIONS as rejection:
                error, status = _describe(rejection), _status(rejection)
            except Exception:
                log.exception(BATCH_IMAGE_ERROR, entry.number)
                error = PredictionError(code="internal_error", message="Internal error.")
                status = HTTPStatus.INTERNAL_SERVER_ERROR
        filename = display_filename(entry.name)
        item = BatchItem(number=entry.number, filename=filename, status=status, prediction=prediction, error=error)
        self.items.append(item)

    async def _submit(self, entry: _BatchEntry) -> PredictionRead:
        if isinstance(entry.data, ServiceError):
            raise entry.data
        upload = UploadBody(
            data=entry.data,
            image_url="",
            filename=entry.name,
            options=entry.options,
            received_at=entry.received_at,
            idempotency_key=f"{self._key}:{entry.number}" if self._key is not None else None,
        )
        with self._state.backlog.reserve():
            submission = await self._state.intake.submit(upload)
        if isinstance(submission.outcome, Replay):
            outcome = await current_or_stored(submission.outcome, self._state)
            if isinstance(outcome, str):
                return PredictionRead.model_validate_json(outcome)
            return PredictionRead.from_row(outcome)
        prediction = PredictionRead.from_row(submission.outcome)
        if submission.claim:
            with suppress(DatabaseUnavailable):
                await idempotency.save_response(submission.claim, prediction.model_dump_json())
        return prediction


def _response(items: list[BatchItem], error: PredictionError | None) -> Response:
    accepted = sum(item.prediction is not None for item in items)
    batch = Batch(accepted=accepted, refused=len(items) - accepted, items=items, error=error)
    return Response(batch.model_dump_json(), media_type="application/json")


def _status(error: Exception) -> int:
    if isinstance(error, ServiceError):
        return status_of(error)
    return error.status_code if isinstance(error, HTTPException) else HTTPStatus.UNPROCESSABLE_ENTITY


def _describe(error: Exception) -> PredictionError:
    if isinstance(error, NotAnImage) and error.reason:
        return PredictionError(code=error.code, message=f"{error.message}. {error.reason}")
    if isinstance(error, ServiceError):
        return PredictionError(code=error.code, message=error.message)
    if isinstance(error, HTTPException):
        return PredictionError(code="bad_request", message=str(error.detail))
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return PredictionError(code=first["type"], message=first["msg"])


refuse_other_methods(router, "/batch/", "POST")
