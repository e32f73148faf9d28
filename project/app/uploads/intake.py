"""Accepting an upload: it is received, kept, and has its row."""

import asyncio
import contextlib
import hashlib
import time
import unicodedata
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from fastapi import Request

from app import crud, idempotency, metrics, timing
from app.accounts import finished
from app.addresses import check_url
from app.api.deps import InspectedImage, Runtime, caller
from app.api.reading import invalid, read_sent
from app.dispatch import ImageModel
from app.domain import (
    MAX_FILENAME,
    DatabaseUnavailable,
    IdempotencyClaim,
    ImageNotFetched,
    ModelUnknown,
    Status,
    StorageUnavailable,
    UploadTooLarge,
)
from app.idempotency import Replay
from app.models.tortoise import Prediction

UNNAMED: Final = "unnamed"
MAX_QUEUE_SECONDS: Final = 15.0
"""Who has waited so long for room for an image that is to be fetched is told to come again."""
IN_FLIGHT: Final = timedelta(minutes=1)
"""An upload takes no longer than this and its wait; with neither row nor answer by then, its process has died."""


@dataclass(frozen=True, slots=True)
class ReceivedImage:
    """An image that was found to be one. ``size_bytes``: of all that was uploaded, of which not all may be kept."""

    filename: str | None
    size_bytes: int
    inspected: InspectedImage


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of an image. ``came``, and ``until`` when its answer is waited for: by ``time.monotonic``."""

    model: ImageModel
    webhook_url: str | None
    came: float
    key_id: int | None
    until: float | None = None


async def accept(
    request: Request, runtime: Runtime, wait: int | None, key: str | None, room: AsyncExitStack
) -> tuple[Prediction | Replay, IdempotencyClaim | None, float]:
    """Receive an upload and make its row, or learn what became of it before.

    With the key as it is held, and the time it came, by ``time.monotonic``. ``room``: what the request has taken, left
    for other room where its image is fetched.
    """
    with timing.stage("receive"):
        sent = await read_sent(request)
    # A wait counts from the whole request (RFC 7240, 4.3), not from its first byte.
    came = time.monotonic()
    model = await image_model(runtime, sent.model)
    by = await caller(request)
    hook = webhook_url(sent.webhook_url, runtime)
    order = Order(model, hook, came, by.key_id, came + wait if wait else None)
    if sent.data is None:
        _check_image_url(sent.image_url, runtime)
        source = hashlib.sha256(sent.image_url.encode()).hexdigest()

        async def make(held: IdempotencyClaim | None) -> Prediction:
            await room.aclose()
            async with runtime.fetched_room.taken(runtime.settings.max_upload_bytes, MAX_QUEUE_SECONDS):
                return await store(await _fetched(sent.image_url, runtime), order, held, runtime)
    else:
        image = await received(sent.filename, sent.data, runtime)
        source = image.inspected.sha256

        async def make(held: IdempotencyClaim | None) -> Prediction:
            return await store(image, order, held, runtime)

    if key is None:
        return await make(None), None, came
    made, held = await run_idempotent(key, (source, sent.model, sent.webhook_url), make, runtime)
    return made, held, came


async def run_idempotent(
    key: str, asked: tuple[str, str, str], make: Callable[[IdempotencyClaim], Awaitable[Prediction]], runtime: Runtime
) -> tuple[Prediction | Replay, IdempotencyClaim | None]:
    """Make a prediction, unless it was made before with this key; with the key, where it is held now.

    ``asked``: where the image is from, its model and webhook, which have to be the same. Raises IdempotencyKeyReused or
    IdempotencyKeyInFlight.
    """
    in_flight = timedelta(seconds=runtime.settings.max_wait_seconds) + IN_FLIGHT
    held = await idempotency.claim(key, idempotency.fingerprint(*asked), in_flight)
    if isinstance(held, Replay):
        return held, None
    try:
        return await make(held), held
    except Exception:
        # Not where it was cancelled: its row may be on its way. The key is free again after a while.
        with contextlib.suppress(DatabaseUnavailable):
            await idempotency.release(held)
        raise


async def received(filename: str | None, data: bytes, runtime: Runtime) -> ReceivedImage:
    """An image, inspected. Raises UploadTooLarge, NotAnImage or ImageTooLarge."""
    limit = runtime.settings.max_upload_bytes
    if len(data) > limit:
        raise UploadTooLarge(f"The upload is larger than {limit} bytes.")
    with timing.stage("inspect"):
        return ReceivedImage(filename, len(data), await runtime.inspect(data))


async def store(image: ReceivedImage, order: Order, held: IdempotencyClaim | None, runtime: Runtime) -> Prediction:
    """Keep an image, make its row, and start what classifies it."""
    inspected, model = image.inspected, order.model
    data = inspected.kept
    await runtime.quotas.take(order.key_id, image.size_bytes)
    storing = asyncio.create_task(runtime.storage.put(data, inspected.image.extension))
    try:
        attempt = None
        if runtime.settings.reuse_answers:
            attempt = await runtime.known((inspected.sha256, model.name, model.version))
            (metrics.CACHE_HITS if attempt else metrics.CACHE_MISSES).labels("answers").inc()
        if attempt is None and order.until:
            # Who waits learns the answer with the row; the disk works meanwhile.
            attempt = await runtime.dispatch.attempt(model.name, data, order.until - time.monotonic())
        with timing.stage("store"):
            image_path = await asyncio.shield(storing)
    except BaseException:
        # The service stops, or the database is away: an image without a row would stay for ever.
        with contextlib.suppress(StorageUnavailable):
            await runtime.storage.delete([await storing])
        raise
    new = crud.NewPrediction(
        filename=display_filename(image.filename),
        image_path=image_path,
        image=inspected.image,
        size_bytes=image.size_bytes,
        sha256=inspected.sha256,
        model=model.name,
        model_version=attempt.version if attempt and attempt.version else model.version,
        came=order.came,
        attempt=attempt,
        idempotency_key=held,
        webhook_url=order.webhook_url,
        key_id=order.key_id,
        carried=timing.carried(),
    )
    try:
        with timing.stage("create"):
            prediction = await runtime.dispatch.create(new)
    except Exception as error:
        # Where the row may have been committed after all, it needs its image.
        if not (isinstance(error, DatabaseUnavailable) and error.outcome_unknown):
            await runtime.storage.delete([image_path])
        raise
    metrics.UPLOADS.labels(model.name).inc()
    metrics.UPLOADED_BYTES.inc(image.size_bytes)
    if prediction.status == Status.PENDING:
        runtime.backlog.count_accepted()
        runtime.dispatch.start(prediction, data)
    else:
        finished(prediction, None, attempt.began if attempt else order.came, attempt.seconds if attempt else None)
    return prediction


async def _fetched(url: str, runtime: Runtime) -> ReceivedImage:
    assert runtime.fetcher is not None
    try:
        data, filename = await runtime.fetcher.fetch(url, runtime.settings.max_upload_bytes)
    except ImageNotFetched as error:
        raise invalid(error.code, "image_url", error.message, url) from error
    return await received(filename, data, runtime)


def _check_image_url(url: str, runtime: Runtime) -> None:
    if runtime.fetcher is None:
        told = "Image URLs are disabled: the operator can set IMAGE_URL=public"
        raise invalid("image_url_invalid", "image_url", told, url)
    try:
        check_url(url)
    except ValueError as error:
        raise invalid("image_url_invalid", "image_url", f"Invalid image URL: {error}", url) from error


def webhook_url(url: str, runtime: Runtime) -> str | None:
    """Where a prediction's end is told. Raises RequestValidationError where there are no webhooks, or not there."""
    if not url:
        return None
    told = ""
    if runtime.settings.webhook_secret is None:
        told = "Webhooks are disabled: the operator can set WEBHOOK_SECRET"
    else:
        try:
            check_url(url)
        except ValueError as error:
            told = f"Invalid webhook URL: {error}"
    if told:
        raise invalid("webhook_url_invalid", "webhook_url", told, url)
    return url


async def image_model(runtime: Runtime, name: str) -> ImageModel:
    """The model that an upload or reclassification asks for; the default one where it names none."""
    try:
        return await runtime.dispatch.image_model(name)
    except ModelUnknown as error:
        raise invalid("model_unknown", "model", error.message, name) from error


def display_filename(name: str | None) -> str:
    """The client's file name, fit to be stored and shown: no control characters, at most 255 characters."""
    composed = unicodedata.normalize("NFC", name or "")
    visible = "".join("\ufffd" if unicodedata.category(c) in {"Cc", "Cs"} else c for c in composed)
    return visible[:MAX_FILENAME] or UNNAMED
