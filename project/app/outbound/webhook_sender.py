"""Sends webhooks, signed as Standard Webhooks (standardwebhooks.com) specifies, never into a private network."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

import httpx
from pydantic import BaseModel

from app.db.connection import when_available
from app.db.crud import webhook_deliveries
from app.db.crud.webhook_deliveries import Outcome
from app.domain import ModelUnknown, PredictionNotFound, Status, TrainingNotFound
from app.models.pydantic import PredictionRead
from app.models.pydantic_custom import TrainingRead
from app.models.tortoise import CustomModel, Delivery, Prediction, Training
from app.observability import metrics
from app.observability.log_events import WEBHOOK_FAILED, WEBHOOK_REFUSED, WEBHOOK_UNREACHABLE
from app.outbound.http_client import NO_CONNECTION, USER_AGENT, AddressNotAllowed, SafeHttpClient, tls_problem

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 10.0
RECORD_SECONDS: Final = webhook_deliveries.LEASE.total_seconds() - TIMEOUT_SECONDS
"""How long an outcome is kept for a database that is away: until another attempt may begin."""
GONE: Final = 410
"""Status of a receiver that wants no more webhooks."""


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``: HMAC-SHA256 of ID, timestamp and body, in base64. ``secret``: ``whsec_…``."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def payload(prediction: PredictionRead) -> bytes:
    """Body of a webhook: event type, time, and the whole prediction."""
    return _payload("prediction", prediction.status, prediction)


def training_payload(training: Training, model: CustomModel) -> bytes:
    """Body of a webhook about a training."""
    return _payload("training", training.status, TrainingRead.from_row(training, model.name, model.training_id))


def _payload(subject: str, status: Status, read: BaseModel) -> bytes:
    outcome = "succeeded" if status == Status.SUCCEEDED else "failed"
    data = json.loads(read.model_dump_json())
    return json.dumps({"type": f"{subject}.{outcome}", "timestamp": data["completed_at"], "data": data}).encode()


class WebhookSender:
    """Makes attempts at webhooks, each on its own connection, so that a receiver cannot block others."""

    def __init__(
        self, secret: str, calibrated_confidence: Callable[[Prediction], float | None], *, to_private: bool
    ) -> None:
        """``calibrated_confidence``: of a prediction, if there is one. ``to_private``: allow private addresses."""
        self._secret = secret
        self._calibrated_confidence = calibrated_confidence
        self._http = SafeHttpClient(to_private=to_private)

    async def attempt(self, delivery: Delivery) -> None:
        """Make one attempt at a claimed webhook and record the outcome. Raises DatabaseUnavailable."""
        try:
            prediction = await webhook_deliveries.reported_prediction(delivery)
            if prediction is None:
                body = training_payload(*await webhook_deliveries.reported_training(delivery))
            elif prediction.status in {Status.SUCCEEDED, Status.FAILED}:
                body = payload(PredictionRead.from_row(prediction, self._calibrated_confidence(prediction)))
            else:
                await webhook_deliveries.postpone(delivery)
                return
        except (PredictionNotFound, TrainingNotFound, ModelUnknown):
            # Deleted, and the webhook with it.
            return
        outcome = await self._send(delivery, body, await webhook_deliveries.database_time())
        # Kept while the database is away: a receiver that has the webhook should not get it again.
        record = partial(webhook_deliveries.record_outcome, delivery, outcome)
        pause = await when_available(record, RECORD_SECONDS)
        metrics.WEBHOOKS.labels("failed" if outcome.error else "delivered").inc()
        if outcome.error:
            log.info(WEBHOOK_FAILED, delivery.id, delivery.attempts, outcome.error, pause)

    async def _send(self, delivery: Delivery, body: bytes, timestamp: int) -> Outcome:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status = await self._post(delivery.url, f"msg_{delivery.id}", body, timestamp)
        except AddressNotAllowed as error:
            # Readers of the outcome must not learn which private addresses names resolve to.
            log.info(WEBHOOK_REFUSED, delivery.id, error)
            return Outcome(None, "This address is not allowed.")
        except TimeoutError:
            return Outcome(None, f"No response within {TIMEOUT_SECONDS:.0f} s.")
        except NO_CONNECTION as error:
            log.info(WEBHOOK_UNREACHABLE, delivery.id, str(error) or type(error).__name__)
            problem = tls_problem(error)
            return Outcome(None, f"Connection failed: {problem}." if problem else "Connection failed.")
        if httpx.codes.is_success(status):
            return Outcome(status)
        return Outcome(status, f"The receiver responded with {status}.", permanent=status == GONE)

    async def _post(self, url: str, message_id: str, body: bytes, timestamp: int) -> int:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._secret, message_id, timestamp, body),
        }
        sending = self._http.stream("POST", url, headers=headers, idle_timeout=TIMEOUT_SECONDS, content=body)
        async with sending as response:
            # The response body is not read: it could be endless.
            return response.status_code
