"""Logs and counts each finished prediction."""

import logging
import time
from typing import TypeVar

from app import metrics
from app.domain import Claim
from app.log_events import PREDICTION
from app.models.tortoise import Prediction

log = logging.getLogger(__name__)

MaybePrediction = TypeVar("MaybePrediction", Prediction, Prediction | None)


def finished(
    prediction: MaybePrediction, held: Claim | None, began: float, seconds: tuple[float, float] | None = None
) -> MaybePrediction:
    """Log and count a prediction that this process finished; returns it. None: another process finished it.

    ``claim``: None if it was classified before it had a row. ``started_at``: by ``time.monotonic``. ``seconds``: of
    decoding, and of inference.
    """
    if prediction is None:
        return prediction
    metrics.PREDICTIONS.labels(prediction.model, prediction.status.value).inc()
    beside = {
        "model": prediction.model,
        "model_version": prediction.model_version,
        "attempt": held.attempt if held else prediction.attempts,
        "cached": prediction.cached,
    }
    if held:
        beside["queue_ms"] = _milliseconds(held.waited)
    if seconds:
        beside["decode_ms"], beside["infer_ms"] = map(_milliseconds, seconds)
    if prediction.error_code:
        beside["error"] = prediction.error_code
    took = _milliseconds(time.monotonic() - began)
    log.info(PREDICTION, prediction.id, prediction.status.value, took, extra=beside)
    return prediction


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 1)
