"""Accepting an upload: it is received, kept, and has its row."""

import asyncio
import contextlib
import time
import unicodedata
from dataclasses import dataclass, replace
from datetime import timedelta
from http import HTTPStatus
from typing import Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app import crud, idempotency
from app.api.deps import Inspected, Runtime
from app.api.forms import Part, read_form
from app.deliveries import check_url
from app.dispatch import ImageModel
from app.domain import (
    MAX_FILENAME,
    DatabaseUnavailable,
    HeldKey,
    ModelUnknown,
    Status,
    StorageUnavailable,
    UploadTooLarge,
)
from app.idempotency import Replay
from app.models.tortoise import Prediction

UNNAMED: Final = "unnamed"
RECEIVE_SECONDS: Final = 60.0
"""Who sends slowly takes room from others: 20 MiB in this time are 2.8 Mbit/s."""
IN_FLIGHT: Final = timedelta(minutes=1)
"""An upload takes no longer than this and its wait; with neither row nor answer by then, its process has died."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An image as a client sent it. ``came``, and ``until`` when it waits for its answer: by ``time.monotonic``."""

    filename: str | None
    data: bytes
    model: ImageModel
    came: float
    until: float | None
    idempotency_key: HeldKey | None
    webhook_url: str | None


async def accept(
    request: Request, runtime: Runtime, wait: int | None, key: str | None
) -> tuple[Prediction | Replay, HeldKey | None, float]:
    """Receive an upload and make its row, or learn what became of it before.

    With the key as it is held, and the time it came, by ``time.monotonic``.
    """
    try:
        async with asyncio.timeout(RECEIVE_SECONDS):
            form = await read_form(request)
    except TimeoutError:
        told = f"The upload did not arrive within {RECEIVE_SECONDS:.0f} s."
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, told) from None
    # A wait counts from the whole request (RFC 7240, 4.3), not from its first byte.
    came = time.monotonic()
    file = _file(form.get("file"))
    asked_for = _field(form.get("model"))
    chosen = await image_model(runtime, asked_for)
    webhook_url = _webhook_url(_field(form.get("webhook_url")), runtime)
    upload = Upload(file.filename, file.data, chosen, came, came + wait if wait else None, None, webhook_url)
    limit = runtime.settings.max_upload_bytes
    if len(upload.data) > limit:
        raise UploadTooLarge(f"The upload is larger than {limit} bytes.")
    inspected = await runtime.inspect(upload.data)
    if key is None:
        return await _store(upload, inspected, runtime), None, came
    in_flight = timedelta(seconds=runtime.settings.max_wait_seconds) + IN_FLIGHT
    fingerprint = idempotency.fingerprint(inspected.sha256, asked_for, webhook_url or "")
    held = await idempotency.claim(key, fingerprint, in_flight)
    if isinstance(held, Replay):
        return held, None, came
    try:
        return await _store(replace(upload, idempotency_key=held), inspected, runtime), held, came
    except Exception:
        # Not where it was cancelled: its row may be on its way. The key is free again after a while.
        with contextlib.suppress(DatabaseUnavailable):
            await idempotency.release(held)
        raise


async def _store(upload: Upload, inspected: Inspected, runtime: Runtime) -> Prediction:
    """Keep an image, make its row, and start what classifies it."""
    data, model = upload.data, upload.model
    storing = asyncio.create_task(runtime.storage.put(data, inspected.image.extension))
    try:
        attempt = None
        if runtime.settings.reuse_answers:
            attempt = await runtime.known((inspected.sha256, model.name, model.version))
        if attempt is None and upload.until:
            # Who waits learns the answer with the row; the disk works meanwhile.
            attempt = await runtime.dispatch.attempt(model.name, data, upload.until - time.monotonic())
        image_path = await asyncio.shield(storing)
    except BaseException:
        # The service stops, or the database is away: an image without a row would stay for ever.
        with contextlib.suppress(StorageUnavailable):
            await runtime.storage.delete([await storing])
        raise
    new = crud.NewPrediction(
        filename=_shown_name(upload.filename),
        image_path=image_path,
        image=inspected.image,
        size_bytes=len(data),
        sha256=inspected.sha256,
        model=model.name,
        model_version=attempt.version if attempt and attempt.version else model.version,
        came=upload.came,
        attempt=attempt,
        idempotency_key=upload.idempotency_key,
        webhook_url=upload.webhook_url,
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
    return prediction


def _file(part: Part | None) -> Part:
    if part is None or part.filename is None:
        raise RequestValidationError(
            [{"type": "missing", "loc": ("body", "file"), "msg": "Field required", "input": None}]
        )
    return part


def _field(part: Part | None) -> str:
    return part.data.decode(errors="replace") if part else ""


def _webhook_url(url: str, runtime: Runtime) -> str | None:
    if not url:
        return None
    told = ""
    if runtime.settings.webhook_secret is None:
        told = "This service sends no webhooks: its operator has to set WEBHOOK_SECRET"
    else:
        try:
            check_url(url)
        except ValueError as error:
            told = f"The webhook's address cannot be used: {error}"
    if told:
        raise RequestValidationError(
            [{"type": "webhook_url_invalid", "loc": ("body", "webhook_url"), "msg": told, "input": url}]
        )
    return url


async def image_model(runtime: Runtime, name: str) -> ImageModel:
    """The model that an upload or reclassification asks for; the default one where it names none."""
    try:
        return await runtime.dispatch.image_model(name)
    except ModelUnknown as error:
        told = {"type": "model_unknown", "loc": ("body", "model"), "msg": error.message, "input": name}
        raise RequestValidationError([told]) from error


def _shown_name(name: str | None) -> str:
    """The client's file name, fit to be stored and shown: no control characters, at most 255 characters."""
    composed = unicodedata.normalize("NFC", name or "")
    visible = "".join("\ufffd" if unicodedata.category(c) in {"Cc", "Cs"} else c for c in composed)
    return visible[:MAX_FILENAME] or UNNAMED
