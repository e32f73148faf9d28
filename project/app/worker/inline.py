"""Classifies images that have no row yet, for clients that wait: row and result are written in one statement."""

import asyncio
import logging
import time
from collections.abc import Sequence

from app.classifier.engine.process import Classification
from app.concurrency import Batcher
from app.db.crud import new_predictions
from app.db.crud.new_predictions import InlineResult, NewPrediction
from app.domain import AttemptsExhausted, DatabaseUnavailable, EngineDied, IdempotencyKeyInFlight, RetryPolicy
from app.models.tortoise import Prediction
from app.observability.log_events import ATTEMPT_ERROR
from app.worker.engine_requests import EngineRequests
from app.worker.image_buffer import ImageBuffer
from app.worker.worker import MAX_DELAY_SECONDS, MAX_WRITTEN, PERMANENT_ERRORS

log = logging.getLogger(__name__)


class InlineClassifier:
    """Classifies images before their rows exist, and creates those rows."""

    def __init__(self, requests: EngineRequests, buffer: ImageBuffer, policy: RetryPolicy) -> None:
        self._requests = requests
        self._buffer = buffer
        self._policy = policy
        self._last_created = 0.0
        self.create = Batcher[NewPrediction, Prediction](
            self._create_all, max_items=MAX_WRITTEN, may_delay=self._may_delay, max_delay=MAX_DELAY_SECONDS
        )
        """Creates the row of an image that was classified inline."""

    async def classify(self, model: str, data: bytes, seconds: float) -> InlineResult | None:
        """Classify an image; None if it must be stored as pending first.

        That is so if it takes longer than ``seconds``, too many bytes are in memory, or the engine restarted because of
        another image.
        """
        with self._buffer.reserved(data) as has_room:
            if not has_room:
                return None
            started_at = time.monotonic()
            request = self._requests.classify(model, data)
            try:
                await asyncio.wait([request], timeout=seconds)
                return self._result(request, started_at) if request.done() and not request.cancelled() else None
            finally:
                request.cancel()

    def _result(self, request: asyncio.Task[Classification], started_at: float) -> InlineResult | None:
        try:
            classification = request.result()
        except PERMANENT_ERRORS as error:
            return InlineResult(started_at, error=error)
        except (DatabaseUnavailable, EngineDied):
            # Perhaps because of another image: its row is made, and it is tried again.
            return None
        except Exception:
            log.exception(ATTEMPT_ERROR)
            return InlineResult(started_at, error=AttemptsExhausted() if self._policy.max_attempts == 1 else None)
        return InlineResult(
            started_at,
            classification.scores,
            version=classification.version,
            seconds=classification.seconds,
            embedding=classification.embedding,
            categories=classification.categories,
            decision=classification.decision,
        )

    async def _create_all(self, new: list[NewPrediction]) -> list[Prediction | IdempotencyKeyInFlight]:
        self._last_created = max(self._last_created, *(prediction.received_at for prediction in new))
        return await new_predictions.create_all(new)

    def _may_delay(self, new: Sequence[NewPrediction]) -> bool:
        """Whether rows may wait for others: not once a later upload has its row."""
        return self._requests.may_delay(new) and min(prediction.received_at for prediction in new) > self._last_created
