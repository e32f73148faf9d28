"""Turns an upload into a committed prediction, whichever route received it. Knows no HTTP."""

import asyncio
import contextlib
import hashlib
import time
import unicodedata
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from app.classifier.engine.inspectors import Inspectors
from app.concurrency import Batcher
from app.config import Settings
from app.db.connection import when_available
from app.db.crud import idempotency, new_predictions
from app.db.crud.idempotency import Replay
from app.db.crud.new_predictions import InlineResult, NewPrediction
from app.domain import (
    MAX_FILENAME,
    DatabaseUnavailable,
    IdempotencyClaim,
    IdempotencyKeyInFlight,
    Status,
    StorageUnavailable,
)
from app.models.tortoise import Prediction
from app.observability import metrics, timing
from app.observability.task_errors import log_errors
from app.storage import Storage
from app.uploads.backlog import Backlog
from app.uploads.inspector import InspectedImage, Inspector
from app.uploads.memory_budget import MemoryBudget
from app.uploads.quotas import Quotas
from app.worker.dispatch import Dispatch, ImageModel
from app.worker.outcome_log import record_outcome

if TYPE_CHECKING:
    from app.outbound.image_download import ImageDownloader

UNNAMED: Final = "unnamed"
DIRECTION_MARKS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
MAX_LOOKUPS: Final = 64
"""Cached results looked up in one statement."""
MAX_DOWNLOAD_QUEUE_SECONDS: Final = 15.0
"""How long a download may wait for memory before the client is asked to retry."""
CLAIM_TIMEOUT: Final = timedelta(minutes=1)
"""Maximum duration of an upload in addition to its wait; an idempotency key without a row is free after that."""


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """What a client requests for an image. ``key_id``: of its API key; ``requested_model``: as it named it."""

    model: ImageModel
    requested_model: str
    webhook_url: str | None
    key_id: int | None


@dataclass(frozen=True, slots=True)
class UploadBody:
    """A complete, valid upload: an image, or the URL of one. Times are by ``time.monotonic``.

    ``deadline``: until when the client waits for the result, if it does. ``on_downloaded``: gets the number of bytes of
    each piece downloaded from ``image_url``.
    """

    data: bytes | None
    image_url: str
    filename: str | None
    options: UploadOptions
    received_at: float
    deadline: float | None = None
    idempotency_key: str | None = None
    on_downloaded: Callable[[int], None] | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """The outcome of a submission: a new prediction, or a replay of an earlier upload with the same key.

    ``claim``: the idempotency key, whose first response is still to be stored.
    """

    outcome: Prediction | Replay
    received_at: float
    claim: IdempotencyClaim | None = None


@dataclass(frozen=True, slots=True)
class _NamedImage:
    """An image to store, and the name that the client gave it."""

    filename: str | None
    image: InspectedImage


class Intake:
    """Accepts uploads: quota, stored file, cached result or inline classification, row, metrics."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        dispatch: Dispatch,
        backlog: Backlog,
        downloader: "ImageDownloader | None",
        inspectors: Inspectors,
        process_lock: int,
    ) -> None:
        """``downloader``: None if image URLs are disabled. ``process_lock``: owns this process's idempotency keys."""
        self.inspector = Inspector(settings, inspectors)
        self.downloads_enabled = downloader is not None
        self._storage = storage
        self._dispatch = dispatch
        self._backlog = backlog
        self._downloader = downloader
        self._process_lock = process_lock
        self._releasing: dict[tuple[str, int | None], asyncio.Task[None]] = {}
        """Idempotency keys, with their API keys, that are free once the database is back."""
        self._quotas = Quotas(settings.quota_bytes)
        self._max_upload_bytes = settings.max_upload_bytes
        self._max_duration = timedelta(seconds=settings.max_wait_seconds) + CLAIM_TIMEOUT
        self._reuse_results = settings.reuse_answers
        self._keep_embeddings = settings.keep_embeddings
        # Separate, so that slow servers do not hold up uploads.
        self._download_budget = MemoryBudget(max(settings.max_receiving_bytes, settings.max_upload_bytes))
        self._cached_result = Batcher(new_predictions.cached_results, max_items=MAX_LOOKUPS)

    async def submit(self, upload: UploadBody) -> Submission:
        """Store an upload and create its prediction, or find the outcome of an earlier upload with the same key.

        On return the row is committed. Raises UploadTooLarge, NotAnImage, ImageTooLarge, ImageNotFetched,
        QuotaExceeded, IdempotencyKeyReused, IdempotencyKeyInFlight, StorageUnavailable or DatabaseUnavailable.
        """
        if upload.data is None:
            source_hash = hashlib.sha256(upload.image_url.encode()).hexdigest()

            async def create_from_source(claim: IdempotencyClaim | None) -> Prediction:
                async with self._download_budget.reserve(self._max_upload_bytes, MAX_DOWNLOAD_QUEUE_SECONDS):
                    return await self._create(await self._download(upload), upload, claim)
        else:
            image = await self.inspector.inspect(upload.data)
            source_hash = image.sha256

            async def create_from_source(claim: IdempotencyClaim | None) -> Prediction:
                return await self._create(_NamedImage(upload.filename, image), upload, claim)

        if upload.idempotency_key is None:
            return Submission(await create_from_source(None), upload.received_at)
        fingerprint = idempotency.fingerprint(
            source_hash, upload.options.requested_model, upload.options.webhook_url or ""
        )
        return await self._run_idempotent(upload, fingerprint, create_from_source)

    async def reclassify(self, prediction_id: int, model: ImageModel) -> Prediction:
        """Classify a stored image again, with another model.

        Raises Overloaded, PredictionNotFound, PredictionUnfinished or DatabaseUnavailable.
        """
        with self._backlog.reserve():
            prediction = await self._dispatch.reclassify(prediction_id, model)
            self._start(prediction, None)
        return prediction

    async def _run_idempotent(
        self, upload: UploadBody, fingerprint: str, create: Callable[[IdempotencyClaim], Awaitable[Prediction]]
    ) -> Submission:
        assert upload.idempotency_key is not None
        key = upload.idempotency_key, upload.options.key_id
        if key in self._releasing:
            raise IdempotencyKeyInFlight
        try:
            claim = await idempotency.claim(*key, fingerprint, self._max_duration, self._process_lock)
        except DatabaseUnavailable as error:
            if error.outcome_unknown:
                self._release_later(*key)
            raise
        if isinstance(claim, Replay):
            return Submission(claim, upload.received_at)
        try:
            return Submission(await create(claim), upload.received_at, claim)
        except Exception:
            # Not after a cancellation: the row may be on its way. The key becomes free after a while.
            try:
                await idempotency.release(claim)
            except DatabaseUnavailable:
                self._release_later(*key)
            raise

    def _release_later(self, key: str, key_id: int | None) -> None:
        """Free a key once the database is back: this process lives, so others would take its upload for active.

        Until then, this process claims the key for no other upload.
        """

        async def release() -> None:
            with log_errors("Releasing an idempotency key"):
                release_key = partial(idempotency.release_unknown, key, key_id, self._process_lock)
                await when_available(release_key, self._max_duration.total_seconds())

        task = self._releasing[key, key_id] = asyncio.create_task(release())
        task.add_done_callback(lambda _: self._releasing.pop((key, key_id), None))

    async def _download(self, upload: UploadBody) -> _NamedImage:
        assert self._downloader is not None
        data, filename = await self._downloader.download(upload.image_url, self._max_upload_bytes, upload.on_downloaded)
        return _NamedImage(filename, await self.inspector.inspect(data))

    async def _create(self, source: _NamedImage, upload: UploadBody, claim: IdempotencyClaim | None) -> Prediction:
        """Store an image, create its row, and start its classification."""
        image, options = source.image, upload.options
        await self._quotas.use(options.key_id, image.size_bytes)
        storing = asyncio.create_task(self._storage.put(image.stored, image.info.extension))
        try:
            result = await self._known_result(image, upload)
            with timing.stage("store"):
                image_path = await asyncio.shield(storing)
        except BaseException:
            # The service stops or the database is unavailable: an image without a row would stay.
            with contextlib.suppress(StorageUnavailable):
                await self._storage.delete([await storing])
            raise
        new = NewPrediction(
            filename=display_filename(source.filename),
            image_path=image_path,
            image=image.info,
            size_bytes=image.size_bytes,
            sha256=image.sha256,
            model=options.model.name,
            model_version=result.version if result and result.version else options.model.version,
            received_at=upload.received_at,
            inline_result=result,
            idempotency_claim=claim,
            webhook_url=options.webhook_url,
            key_id=options.key_id,
            trace_headers=timing.trace_headers(),
        )
        try:
            with timing.stage("create"):
                prediction = await self._dispatch.create(new)
        except Exception as error:
            # If the row may have been committed after all, it needs its image.
            if not (isinstance(error, DatabaseUnavailable) and error.outcome_unknown):
                await self._storage.delete([image_path])
            raise
        metrics.UPLOADS.labels(options.model.name).inc()
        metrics.UPLOADED_BYTES.inc(image.size_bytes)
        if prediction.status == Status.PENDING:
            self._start(prediction, image.stored)
        else:
            started_at = result.started_at if result else upload.received_at
            record_outcome(prediction, None, started_at, result.seconds if result else None)
        return prediction

    async def _known_result(self, image: InspectedImage, upload: UploadBody) -> InlineResult | None:
        """The cached result, or that of a classification if the client waits for it; None if neither is available."""
        model = upload.options.model
        if self._reuse_results:
            cached = await self._cached_result((image.sha256, model.name, model.version))
            (metrics.CACHE_HITS if cached else metrics.CACHE_MISSES).labels("answers").inc()
            if cached:
                return cached if self._keep_embeddings else replace(cached, cached_from=None)
        if upload.deadline is None:
            return None
        # A waiting client gets the result together with the row; the disk works in the meantime.
        return await self._dispatch.classify_inline(model.name, image.stored, upload.deadline - time.monotonic())

    def _start(self, prediction: Prediction, data: bytes | None) -> None:
        self._backlog.count_accepted()
        self._dispatch.start(prediction, data)


def display_filename(name: str | None) -> str:
    """The client's file name, safe to store and display: no control characters, at most 255 characters.

    Without marks that change the direction of text, which could let ``gpj.exe`` look like ``exe.jpg``.
    """
    composed = unicodedata.normalize("NFC", name or "")
    visible = "".join(
        "\ufffd" if unicodedata.category(c) in {"Cc", "Cs"} else c for c in composed if c not in DIRECTION_MARKS
    )
    return visible[:MAX_FILENAME] or UNNAMED
