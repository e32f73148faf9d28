"""Webhook deliveries: which are due, and the outcome of each attempt. The row is the source of truth.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from app.db.connection import execute
from app.db.crud import custom_models, predictions, trainings
from app.db.driver_internals import from_row
from app.db.errors import translate_connection_errors
from app.domain import DeliveryStatus
from app.models.tortoise import CustomModel, Delivery, Prediction, Training

LEASE: Final = timedelta(seconds=60)
"""Time limit of one attempt; if its process dies, the next attempt follows after this."""
SCHEDULE: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 60, 300, 1800, 2 * 3600, 5 * 3600, 8 * 3600, 8 * 3600)
)
"""Pauses between attempts: nine attempts in 24 hours."""

_CLAIM: Final = """
UPDATE deliveries
SET attempts = attempts + 1, response_status = NULL,
    status = CASE WHEN attempts > $4 THEN 'failed' ELSE status END,
    error = CASE WHEN attempts > $4 THEN 'The last attempt was never finished.' END,
    next_attempt_at = CASE WHEN attempts > $4 THEN NULL ELSE now() + $2::interval END
WHERE id IN (
    SELECT id FROM deliveries
    WHERE status = 'pending' AND next_attempt_at <= now() AND ($1::bigint IS NULL OR id = $1)
        AND substring(url FROM '^[^:]+://([^/?]*)') <> ALL($5::text[])
    ORDER BY next_attempt_at LIMIT $3 FOR UPDATE SKIP LOCKED
)
RETURNING *
"""
# Locks the prediction, because a worker that finishes it at this moment looks for waiting deliveries.
_POSTPONE: Final = """
UPDATE deliveries SET status = 'waiting', attempts = attempts - 1, next_attempt_at = NULL
WHERE id = $1 AND attempts = $2 AND status = 'pending'
    AND EXISTS (SELECT FROM predictions WHERE id = prediction_id AND status IN ('pending', 'processing') FOR SHARE)
"""
_RECORD: Final = """
UPDATE deliveries
SET status = $3::text, next_attempt_at = now() + $4::interval, response_status = $5, error = $6,
    delivered_at = CASE WHEN $3::text = 'delivered' THEN now() END
WHERE id = $1 AND attempts = $2 AND status = 'pending'
RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt: the response's status, or why there was none."""

    response_status: int | None
    error: str | None = None
    permanent: bool = False
    """Whether another attempt would be pointless."""


@translate_connection_errors()
async def claim_due(exclude_hosts: Sequence[str]) -> Delivery | None:
    """Claim the webhook that has been due longest. ``exclude_hosts``: receivers to skip."""
    return await _claim(None, exclude_hosts)


@translate_connection_errors()
async def claim(delivery_id: int, exclude_hosts: Sequence[str] = ()) -> Delivery | None:
    """Claim one webhook; None if it is not due, done, or its receiver is in ``exclude_hosts``."""
    return await _claim(delivery_id, exclude_hosts)


async def _claim(delivery_id: int | None, exclude_hosts: Sequence[str]) -> Delivery | None:
    while rows := await execute(_CLAIM, [delivery_id, LEASE, 1, len(SCHEDULE), list(exclude_hosts)]):
        delivery = from_row(Delivery, rows[0])
        # If the process died during the last attempt, the delivery has failed.
        if delivery.status == DeliveryStatus.PENDING:
            return delivery
    return None


def receiver_of(url: str) -> str:
    """Host and port of a webhook's URL, as in the SQL above."""
    return urlsplit(url).netloc


@translate_connection_errors()
async def postpone(delivery: Delivery) -> None:
    """Undo a claim because the prediction is being classified again; the webhook waits for the new result."""
    await execute(_POSTPONE, [delivery.id, delivery.attempts])


@translate_connection_errors()
async def record_outcome(delivery: Delivery, outcome: Outcome) -> timedelta | None:
    """Record the outcome of an attempt; returns the pause before the next one, or None after the last."""
    pause: timedelta | None = None
    if outcome.error is None:
        status = "delivered"
    elif outcome.permanent or delivery.attempts > len(SCHEDULE):
        status = "failed"
    else:
        status, pause = "pending", SCHEDULE[delivery.attempts - 1]
    await execute(_RECORD, [delivery.id, delivery.attempts, status, pause, outcome.response_status, outcome.error])
    return pause


@translate_connection_errors()
async def database_time() -> int:
    """Seconds since 1970 by the database's clock: receivers reject webhooks whose time is far from theirs."""
    (row,) = await execute("SELECT extract(epoch FROM clock_timestamp())::bigint AS now")
    return int(row["now"])


@translate_connection_errors()
async def due_in(delivery_id: int) -> timedelta | None:
    """Time until a webhook is due; None if nothing is left to do."""
    rows = await execute(
        "SELECT next_attempt_at - now() AS pause FROM deliveries WHERE id = $1 AND status = 'pending'", [delivery_id]
    )
    return max(timedelta(0), rows[0]["pause"]) if rows else None


_ADD_FOR_TRAINING: Final = """
INSERT INTO deliveries (training_id, url, status, attempts, next_attempt_at, created_at)
SELECT id, $2::text, CASE WHEN status IN ('pending', 'processing') THEN 'waiting' ELSE 'pending' END, 0,
       CASE WHEN status IN ('succeeded', 'failed') THEN now() END, now()
FROM (SELECT id, status FROM trainings WHERE id = $1 FOR SHARE) AS training
WHERE NOT EXISTS (SELECT FROM deliveries WHERE training_id = $1 AND url = $2::text)
"""


@translate_connection_errors()
async def add_for_training(training_id: int, url: str) -> None:
    """Add a webhook to a training, unless it has it already; it is due at once if the training has ended."""
    await execute(_ADD_FOR_TRAINING, [training_id, url])


@translate_connection_errors()
async def list_for_training(training_id: int) -> list[Delivery]:
    """Webhooks of a training."""
    rows = await execute("SELECT * FROM deliveries WHERE training_id = $1 ORDER BY id", [training_id])
    return [from_row(Delivery, row) for row in rows]


@translate_connection_errors()
async def list_for_prediction(prediction_id: int) -> list[Delivery]:
    """Webhooks of a prediction. Raises PredictionNotFound."""
    await predictions.get(prediction_id)
    rows = await execute("SELECT * FROM deliveries WHERE prediction_id = $1 ORDER BY id", [prediction_id])
    return [from_row(Delivery, row) for row in rows]


async def reported_prediction(delivery: Delivery) -> Prediction | None:
    """The prediction that a webhook reports; None if it reports a training. Raises PredictionNotFound."""
    prediction_id: int | None = delivery.prediction_id  # type: ignore[attr-defined]
    return await predictions.get(prediction_id) if prediction_id else None


async def reported_training(delivery: Delivery) -> tuple[Training, CustomModel]:
    """The training that a webhook reports, and its model. Raises TrainingNotFound or ModelUnknown."""
    training = await trainings.get(delivery.training_id)  # type: ignore[attr-defined]
    return training, await custom_models.get_by_id(training.model_id)  # type: ignore[attr-defined]
