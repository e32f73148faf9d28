"""Receives the images of a batch and submits each of them, for uploads and for the examples of custom models."""

import asyncio
import json
import logging
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.api.batch_body import BatchBody
from app.api.deps import AppState
from app.api.errors import status_of
from app.api.upload_response import current_or_stored
from app.db.crud import idempotency
from app.db.crud.idempotency import Replay
from app.domain import DatabaseUnavailable, NotAnImage, ServiceError, UploadTooLarge
from app.models.pydantic import BatchItem, PredictionError, PredictionRead
from app.observability.log_events import BATCH_IMAGE_ERROR
from app.uploads.intake import UploadBody, UploadOptions, display_filename
from app.uploads.memory_budget import MemoryBudget

log = logging.getLogger(__name__)

MAX_CONCURRENT: Final = 32
"""Images of one batch that are stored at the same time, so that their rows are created together."""
MAX_KEY_LENGTH: Final = 200
IMAGES_IN_MEMORY: Final = 3
"""Of the maximum size: those being stored, one that is arriving, and its chunks while they are joined."""
MAX_QUEUE_SECONDS: Final = 20.0
"""How long a batch may wait for others before the client is asked to retry."""
REJECTIONS: Final = (ServiceError, HTTPException, RequestValidationError)
"""What ends a batch, or rejects one of its images."""


async def receive_batch(
    body: BatchBody, state: AppState, key: str | None = None
) -> tuple[list[BatchItem], PredictionError | None]:
    """Submit all images of a batch; returns the outcome of each, and what ended the batch early.

    ``key``: the idempotency key of the whole batch. Raises what rejects the batch before its first image.
    """
    batch = _Batch(body, state, key)
    async with state.batch_budget.reserve(IMAGES_IN_MEMORY * state.settings.max_upload_bytes, MAX_QUEUE_SECONDS):
        try:
            await batch.receive()
        except REJECTIONS as error:
            if not batch.items:
                raise
            return batch.items, describe_rejection(error)
    return batch.items, None


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
                error, status = describe_rejection(rejection), status_of_rejection(rejection)
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
                # A response of an earlier version lacks fields.
                return PredictionRead.model_validate(
                    {**dict.fromkeys(PredictionRead.model_fields), **json.loads(outcome)}
                )
            return self._state.read(outcome)
        prediction = self._state.read(submission.outcome)
        if submission.claim:
            with suppress(DatabaseUnavailable):
                await idempotency.save_response(submission.claim, prediction.model_dump_json())
        return prediction


def status_of_rejection(error: Exception) -> int:
    """The HTTP status for a rejection."""
    if isinstance(error, ServiceError):
        return status_of(error)
    return error.status_code if isinstance(error, HTTPException) else HTTPStatus.UNPROCESSABLE_ENTITY


def describe_rejection(error: Exception) -> PredictionError:
    """A rejection as the outcome of an image or a batch reports it."""
    if isinstance(error, NotAnImage) and error.reason:
        return PredictionError(code=error.code, message=f"{error.message}. {error.reason}")
    if isinstance(error, ServiceError):
        return PredictionError(code=error.code, message=error.message)
    if isinstance(error, HTTPException):
        return PredictionError(code="bad_request", message=str(error.detail))
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return PredictionError(code=first["type"], message=first["msg"])
