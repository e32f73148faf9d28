"""Many images in one request. Each is accepted or refused by itself."""

import asyncio
import logging
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app import idempotency
from app.api.accepting import Order, run_idempotent, received, display_filename, store
from app.api.batch_images import NO_IMAGES, BatchImages
from app.api.deps import Running, Runtime
from app.api.early import EarlyResponse
from app.api.errors import problem_responses, status_of
from app.api.receiving import MemoryBudget
from app.api.slashes import refuse_other_methods
from app.api.uploads import IDEMPOTENCY_KEY, idempotency_key
from app.domain import DatabaseUnavailable, IdempotencyClaim, PredictionNotFound, ServiceError, UploadTooLarge
from app.idempotency import Replay
from app.log_events import BATCH_IMAGE_ERROR
from app.models.pydantic import Batch, BatchItem, PredictionError, PredictionRead
from app.models.tortoise import Prediction

log = logging.getLogger(__name__)

router = APIRouter(prefix="/predictions", tags=["predictions"])

AT_ONCE: Final = 32
"""Images of one batch that are stored at the same time: their rows are made together."""
MAX_KEY_LENGTH: Final = 200
IMAGES_IN_MEMORY: Final = 3
"""Of the largest size: those that are being stored, one that arrives, and its chunks while they are put together."""
MAX_QUEUE_SECONDS: Final = 20.0
"""Who has waited so long for other batches is told to come again."""
STOPS: Final = (ServiceError, HTTPException, RequestValidationError)
"""What ends a batch, or refuses one of its images."""

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
        "parameters": [IDEMPOTENCY_KEY],
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
    runtime: Running,
    model: Annotated[str, Query(description="Name of a model from /models; empty for the default model.")] = "",
) -> Response:
    """Stores each image and creates its `pending` prediction while the rest of the batch is arriving.

    If the batch is sent again with the same `Idempotency-Key`, images accepted the first time are not stored again.
    """
    key = idempotency_key(request, MAX_KEY_LENGTH)
    # Where there is no place for one, there is none for many.
    with runtime.backlog.place():
        pass
    settings = runtime.settings
    images = BatchImages(request, runtime)
    await images.set_field("model", model)
    batch = _Batch(images, runtime, key)
    async with runtime.batch_room.taken(IMAGES_IN_MEMORY * settings.max_upload_bytes, MAX_QUEUE_SECONDS):
        try:
            await batch.receive()
        except STOPS as error:
            if not batch.items:
                raise
            return EarlyResponse.of(_answer(batch.items, _told(error)))
    if not batch.items:
        raise HTTPException(HTTPStatus.BAD_REQUEST, NO_IMAGES)
    return _answer(batch.items, None)


@dataclass(frozen=True, slots=True)
class _Taken:
    """An image of a batch: its bytes, or why they cannot be had."""

    number: int
    name: str | None
    data: bytes | ServiceError
    order: Order


class _Batch:
    """A batch that is being received, and what became of its images until now."""

    def __init__(self, images: BatchImages, runtime: Runtime, key: str | None) -> None:
        self.items: list[BatchItem] = []
        self._images = images
        self._runtime = runtime
        self._key = key
        self._room = MemoryBudget(runtime.settings.max_upload_bytes)
        self._places = asyncio.Semaphore(AT_ONCE)

    async def receive(self) -> None:
        """Take what arrives until its end; returns, or raises, when all that was taken is done."""
        stopped: Exception | None = None
        count = 0
        async with asyncio.TaskGroup() as tasks:
            try:
                async for name, data in self._images:
                    count += 1
                    if count > (most := self._runtime.settings.max_batch_images):
                        raise UploadTooLarge(f"The batch has more than {most} images.")
                    held = AsyncExitStack()
                    await held.enter_async_context(self._places)
                    await held.enter_async_context(self._room.taken(0 if isinstance(data, ServiceError) else len(data)))
                    taken = _Taken(count, name, data, self._images.order())
                    tasks.create_task(self._keep(taken, held))
            except STOPS as error:
                stopped = error
        self.items.sort(key=lambda item: item.number)
        if stopped:
            raise stopped

    async def _keep(self, taken: _Taken, held: AsyncExitStack) -> None:
        prediction, error, status = None, None, int(HTTPStatus.CREATED)
        async with held:
            try:
                prediction = await self._accepted(taken)
            except STOPS as refused:
                error, status = _told(refused), _status(refused)
            except Exception:
                log.exception(BATCH_IMAGE_ERROR, taken.number)
                error = PredictionError(code="internal_error", message="Internal error.")
                status = HTTPStatus.INTERNAL_SERVER_ERROR
        filename = display_filename(taken.name)
        item = BatchItem(number=taken.number, filename=filename, status=status, prediction=prediction, error=error)
        self.items.append(item)

    async def _accepted(self, taken: _Taken) -> PredictionRead:
        runtime, order = self._runtime, taken.order
        if isinstance(taken.data, ServiceError):
            raise taken.data
        with runtime.backlog.place():
            image = await received(taken.name, taken.data, runtime)

            async def make(held: IdempotencyClaim | None) -> Prediction:
                return await store(image, order, held, runtime)

            if self._key is None:
                return PredictionRead.of(await make(None))
            asked = (image.inspected.sha256, order.model.name, order.webhook_url or "")
            made, held = await run_idempotent(f"{self._key}:{taken.number}", asked, make, runtime)
            if isinstance(made, Replay):
                return await _replayed(made, runtime)
        read = PredictionRead.of(made)
        if held:
            with suppress(DatabaseUnavailable):
                await idempotency.keep_answer(held, read.model_dump_json())
        return read


async def _replayed(replay: Replay, runtime: Runtime) -> PredictionRead:
    """As it has become; as it was at first, where it was deleted."""
    try:
        return PredictionRead.of(await runtime.get(replay.prediction_id))
    except PredictionNotFound:
        if replay.answer is None:
            raise
        return PredictionRead.model_validate_json(replay.answer)


def _answer(items: list[BatchItem], error: PredictionError | None) -> Response:
    accepted = sum(item.prediction is not None for item in items)
    batch = Batch(accepted=accepted, refused=len(items) - accepted, items=items, error=error)
    return Response(batch.model_dump_json(), media_type="application/json")


def _status(error: Exception) -> int:
    if isinstance(error, ServiceError):
        return status_of(error)
    return error.status_code if isinstance(error, HTTPException) else HTTPStatus.UNPROCESSABLE_ENTITY


def _told(error: Exception) -> PredictionError:
    if isinstance(error, ServiceError):
        return PredictionError(code=error.code, message=error.message)
    if isinstance(error, HTTPException):
        return PredictionError(code="bad_request", message=str(error.detail))
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return PredictionError(code=first["type"], message=first["msg"])


refuse_other_methods(router, "/batch/", "POST")
