"""The worker: takes predictions from pending to finished."""

import asyncio
import logging
import time
from datetime import timedelta
from functools import partial
from typing import Final

from app.classifier.engine.process import Classification, Engine
from app.concurrency import Batcher
from app.db.crud import claims
from app.db.crud.claims import ClassificationResult
from app.domain import (
    AttemptsExhausted,
    Claim,
    DatabaseUnavailable,
    EngineDied,
    EngineInterrupted,
    ImageMissing,
    ImageUnreadable,
    ModelBroken,
    ModelUnknown,
    RetryPolicy,
    ServiceError,
    StorageUnavailable,
)
from app.models.tortoise import Prediction
from app.observability import timing
from app.observability.log_events import (
    PREDICTION_DELAYED,
    PREDICTION_ERROR,
    PREDICTION_LOST,
    PREDICTION_UNAWAITED,
    PREDICTIONS_HANDED_BACK,
)
from app.observability.task_errors import log_errors
from app.storage import Storage
from app.worker.claiming import Claimer
from app.worker.custom_models import CustomModels
from app.worker.engine_requests import EngineRequests
from app.worker.image_buffer import ImageBuffer
from app.worker.model_settings import ModelSettings
from app.worker.outage import retry_while_database_down
from app.worker.outcome_log import record_outcome

log = logging.getLogger(__name__)

MAX_CLAIMED_PER_THREAD: Final = 8
"""Predictions claimed at once: enough that the engine never waits while results are written and others claimed."""
MAX_WRITTEN: Final = 128
"""Results written in one statement."""
MAX_DELAY_SECONDS: Final = 0.1
"""How long a result may wait to be written together with others while every thread has work."""
MAX_INTERRUPTIONS: Final = 3
"""Attempts that other images may end before a prediction is released. Each takes the time limit of an image at most."""
RELEASED_PAUSE: Final = timedelta(seconds=1)
"""Pause before a released prediction is tried again."""

PERMANENT_ERRORS: Final = (ImageMissing, ImageUnreadable, ModelBroken, ModelUnknown)
"""Errors that a retry cannot fix."""


class Worker:
    """Has predictions classified by the engine; the event loop only waits for it."""

    def __init__(
        self,
        engine: Engine,
        storage: Storage,
        policy: RetryPolicy,
        threads: int,
        custom: CustomModels,
        model_settings: ModelSettings,
        *,
        from_queue: bool = False,
        embed: bool = False,
    ) -> None:
        """``from_queue``: a queue gives a prediction to one process at a time, so its previous owner is dead.

        ``embed``: embeddings of all images are stored.
        """
        self.requests = EngineRequests(engine, threads, custom, model_settings, embed=embed)
        self.buffer = ImageBuffer()
        self._storage = storage
        self._policy = policy
        self._from_queue = from_queue
        self._stopping = self.requests.stopping
        self._claimer = Claimer(policy, self._stopping, from_queue=from_queue)
        self._write = Batcher[ClassificationResult, Prediction | None](
            claims.succeed_all,
            max_items=MAX_WRITTEN,
            may_delay=self.requests.may_delay,
            max_delay=MAX_DELAY_SECONDS,
        )
        self._slots = asyncio.Semaphore(threads * MAX_CLAIMED_PER_THREAD)
        # An image that kills the process takes down those claimed with it. Predictions that were attempted before are
        # therefore tried one at a time, so that only the culprit runs out of attempts.
        self._retry_slot = asyncio.Semaphore(1)
        self._active: dict[int, asyncio.Task[Prediction | None]] = {}

    @property
    def active_ids(self) -> list[int]:
        """IDs of the predictions that this worker is working on."""
        return list(self._active)

    async def classify(self, prediction_id: int, data: bytes | None = None) -> Prediction | None:
        """Classify a prediction if it is still pending; returns its row once finished, or None if it was released.

        ``data``: the image's bytes, if available. For a prediction that is active already, waits for it.
        """
        task = self.start(prediction_id, data)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            # A server that stops cancels its background tasks; active predictions are released separately.
            log.debug(PREDICTION_UNAWAITED, prediction_id)
            return None
        return task.result()

    async def run_job(self, prediction_id: int) -> timedelta | None:
        """Classify a prediction for a queue; returns a pause if it was released and has to be tried again."""
        if await self.classify(prediction_id):
            return None
        is_pending = await retry_while_database_down(partial(claims.is_pending, prediction_id), self._stopping)
        return RELEASED_PAUSE if is_pending else None

    def start(
        self, prediction_id: int, data: bytes | None = None, attempts: int = 0
    ) -> asyncio.Task[Prediction | None]:
        """The task of ``classify``, to wait for but never to cancel. ``attempts``: made before."""
        task = self._active.get(prediction_id)
        if task is None:
            if data is not None:
                self.buffer.put(prediction_id, data)
            task = asyncio.create_task(self._run(prediction_id, attempts), name=f"classify-{prediction_id}")
            self._active[prediction_id] = task
            task.add_done_callback(lambda _: self._release(prediction_id))
        return task

    async def release_all(self) -> None:
        """Stop: leave unfinished predictions to other workers or to the next start."""
        self.requests.stop()
        if tasks := list(self._active.values()):
            log.info(PREDICTIONS_HANDED_BACK, len(tasks))
            await asyncio.wait(tasks)

    def _release(self, prediction_id: int) -> None:
        self._active.pop(prediction_id, None)
        self.buffer.pop(prediction_id)

    async def _run(self, prediction_id: int, attempts: int) -> Prediction | None:
        # After any error the row is pending, or processing under a lease that expires: it will be found again.
        with log_errors(f"Prediction {prediction_id}"):
            if not attempts:
                async with self._slots:
                    if claim := await self._claimer.claim_first(prediction_id):
                        return await self._process(claim)
            if attempts or self._from_queue:
                async with self._retry_slot, self._slots:
                    if claim := await self._claimer.claim_retry(prediction_id):
                        return await self._process(claim)
                    if self._from_queue and not self._stopping.is_set():
                        return await self._fail_exhausted(prediction_id)
        return None

    async def _process(self, claim: Claim) -> Prediction | None:
        started_at = time.monotonic()
        try:
            timing.record_stage("queue", claim.waited)
            data = self.buffer.pop(claim.prediction_id) or await self._storage.read(claim.image_path)
            classification = await self._classify(claim, data)
        except PERMANENT_ERRORS as error:
            return await self._fail(claim, error, started_at)
        except (DatabaseUnavailable, StorageUnavailable, EngineInterrupted) as error:
            # Not the image's fault: the attempt does not count.
            log.info(PREDICTION_DELAYED, claim.prediction_id, error.message)
            await self._release_claim(claim, count_attempt=False)
            return None
        except asyncio.CancelledError:
            # The worker stops: not the image's fault, so the attempt does not count.
            await claims.release(claim, count_attempt=False)
            return None
        except Exception:
            log.exception(PREDICTION_ERROR, claim.attempt, claim.prediction_id)
            if claim.attempt < self._policy.max_attempts:
                await self._release_claim(claim, count_attempt=True)
                return None
            return await self._fail(claim, AttemptsExhausted(), started_at)
        return await self._succeed(claim, classification, started_at)

    async def _classify(self, claim: Claim, data: bytes) -> Classification:
        """Classify an image, also if other images end an attempt. Raises what the engine raises.

        If the engine dies with several images, each is tried again alone, so that only the one at fault fails.
        """
        alone = claim.attempt > 1
        for _ in range(MAX_INTERRUPTIONS):
            try:
                return await self.requests.classify(claim.model, data, alone=alone)
            except EngineInterrupted as error:
                log.info(PREDICTION_DELAYED, claim.prediction_id, error.message)
            except EngineDied as error:
                if alone:
                    raise
                alone = True
                log.info(PREDICTION_DELAYED, claim.prediction_id, error.message)
        return await self.requests.classify(claim.model, data, alone=alone)

    async def _succeed(self, claim: Claim, classification: Classification, started_at: float) -> Prediction | None:
        result = ClassificationResult(
            claim,
            classification.scores,
            classification.model,
            classification.version,
            classification.embedding,
            classification.categories,
            classification.decision,
        )
        with timing.stage("write"):
            written = await retry_while_database_down(partial(self._write, result), self._stopping)
        if written is None:
            log.warning(PREDICTION_LOST, claim.prediction_id)
        return record_outcome(written, claim, started_at, classification.seconds)

    async def _fail(self, claim: Claim, error: ServiceError, started_at: float) -> Prediction | None:
        failed = await retry_while_database_down(partial(claims.fail, claim, error), self._stopping)
        return record_outcome(failed, claim, started_at)

    async def _fail_exhausted(self, prediction_id: int) -> Prediction | None:
        started_at = time.monotonic()
        exhaust = partial(claims.exhaust, prediction_id, self._policy)
        return record_outcome(await retry_while_database_down(exhaust, self._stopping), None, started_at)

    async def _release_claim(self, claim: Claim, *, count_attempt: bool) -> None:
        release = partial(claims.release, claim, count_attempt=count_attempt)
        await retry_while_database_down(release, self._stopping)
