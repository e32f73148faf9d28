"""Logs and counts each finished prediction."""

import logging
import time
from typing import TypeVar

from app.domain import Claim
from app.models.tortoise import Prediction
from app.observability import metrics
from app.observability.log_events import PREDICTION

log = logging.getLogger(__name__)

MaybePrediction = TypeVar("MaybePrediction", Prediction, Prediction | None)


def record_outcome(
    prediction: MaybePrediction, claim: Claim | None, started_at: float, seconds: tuple[float, float] | None = None
) -> MaybePrediction:
    """Log and count a prediction that this process finished; returns it. None: another process finished it.

    ``claim``: None if it was classified before it had a row. ``started_at``: by ``time.monotonic``. ``seconds``: of
    decoding, and of inference.
    """
    if prediction is None:
        return prediction
    metrics.PREDICTIONS.labels(prediction.model, prediction.status.value).inc()
    extra = {
        "model": prediction.model,
        "model_version": prediction.model_version,
        "attempt": claim.attempt if claim else prediction.attempts,
        "cached": prediction.cached,
    }
    if claim:
        extra["queue_ms"] = _milliseconds(claim.waited)
    if seconds:
        extra["decode_ms"], extra["infer_ms"] = map(_milliseconds, seconds)
    if prediction.error_code:
        extra["error"] = prediction.error_code
    duration = _milliseconds(time.monotonic() - started_at)
    log.info(PREDICTION, prediction.id, prediction.status.value, duration, extra=extra)
    return prediction


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 1)
