"""Sending webhooks, signed as Standard Webhooks (standardwebhooks.com) has it, and never into a private network."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from typing import Final

import httpx

from app import deliveries, metrics
from app.deliveries import Outcome
from app.domain import PredictionNotFound, Status
from app.log_events import WEBHOOK_FAILED, WEBHOOK_REFUSED, WEBHOOK_UNREACHABLE
from app.models.pydantic import PredictionRead
from app.models.tortoise import Delivery, Prediction
from app.outgoing import NO_CONNECTION, USER_AGENT, Forbidden, Outgoing

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 10.0
GONE: Final = 410
"""Who answers so wants to hear no more."""


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``: HMAC-SHA256 of id, time and body, in base64. ``secret``: ``whsec_…``."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def payload(prediction: Prediction) -> bytes:
    """What a webhook says: the kind of event, when it happened, and the whole resource."""
    read = PredictionRead.of(prediction)
    ended = "succeeded" if prediction.status == Status.SUCCEEDED else "failed"
    data = json.loads(read.model_dump_json())
    return json.dumps({"type": f"prediction.{ended}", "timestamp": data["completed_at"], "data": data}).encode()


class Sender:
    """Makes attempts at webhooks, one connection each: nobody is kept waiting by a receiver's other connections."""

    def __init__(self, secret: str, *, to_private: bool) -> None:
        """``to_private``: whether private addresses are allowed."""
        self._secret = secret
        self._outgoing = Outgoing(to_private=to_private)

    async def attempt(self, delivery: Delivery) -> None:
        """Make one attempt at a webhook that was claimed, and note what it came to. Raises DatabaseUnavailable."""
        try:
            prediction = await deliveries.told_of(delivery)
        except PredictionNotFound:
            return
        if prediction.status not in {Status.SUCCEEDED, Status.FAILED}:
            await deliveries.postpone(delivery)
            return
        body = payload(prediction)
        outcome = await self._send(delivery, body)
        pause = await deliveries.write(delivery, outcome)
        metrics.WEBHOOKS.labels("failed" if outcome.error else "delivered").inc()
        if outcome.error:
            log.info(WEBHOOK_FAILED, delivery.id, delivery.attempts, outcome.error, pause)

    async def _send(self, delivery: Delivery, body: bytes) -> Outcome:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status = await self._post(delivery.url, f"msg_{delivery.id}", body)
        except Forbidden as error:
            # Who may read it need not learn what names of this network lead to.
            log.info(WEBHOOK_REFUSED, delivery.id, error)
            return Outcome(None, "The address may not be used.")
        except TimeoutError:
            return Outcome(None, f"No answer within {TIMEOUT_SECONDS:.0f} s.")
        except NO_CONNECTION as error:
            log.info(WEBHOOK_UNREACHABLE, delivery.id, str(error) or type(error).__name__)
            return Outcome(None, "There is no connection to the address.")
        if httpx.codes.is_success(status):
            return Outcome(status)
        return Outcome(status, f"Answered with {status}.", for_good=status == GONE)

    async def _post(self, url: str, message_id: str, body: bytes) -> int:
        timestamp = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._secret, message_id, timestamp, body),
        }
        sending = self._outgoing.stream("POST", url, headers=headers, silence=TIMEOUT_SECONDS, content=body)
        async with sending as response:
            # What the answer says is of no interest, and could be endless.
            return response.status_code
