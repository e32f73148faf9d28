"""Delivers webhooks: in the web process, or in workers that take them from the queue."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from app.concurrency import repeating
from app.config import Settings
from app.db.crud import webhook_deliveries
from app.domain import DatabaseUnavailable
from app.models.tortoise import Delivery, Prediction
from app.observability.log_events import TASK_DELAYED, WEBHOOK_ERROR

if TYPE_CHECKING:
    from app.outbound.webhook_sender import WebhookSender

log = logging.getLogger(__name__)

MAX_CONCURRENT: Final = 16
MAX_CONCURRENT_PER_RECEIVER: Final = 4
"""Maximum concurrent attempts: in total, and for each receiver."""
MIN_PAUSE: Final = timedelta(seconds=1)
SEARCH_SECONDS: Final = 1.0


class WebhookWorker:
    """Makes attempts at webhooks, several at a time, without delaying predictions."""

    def __init__(self, sender: "WebhookSender") -> None:
        self._sender = sender
        self._active: set[asyncio.Task[None]] = set()
        self._attempts: Counter[str] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send due webhooks while inside."""
        async with repeating(self._send_due, SEARCH_SECONDS, "Finding due webhooks"):
            yield
        for task in self._active:
            task.cancel()
        if self._active:
            # Their leases expire, and the next start tries again.
            await asyncio.wait(self._active)

    async def run_job(self, delivery_id: int) -> timedelta | None:
        """Make an attempt at a webhook for the queue; returns the pause before the next one, or None."""
        if delivery := await webhook_deliveries.claim(delivery_id, self._busy_receivers):
            receiver = self._count_attempt(delivery)
            try:
                await self._sender.attempt(delivery)
            finally:
                self._attempts[receiver] -= 1
        pause = await webhook_deliveries.due_in(delivery_id)
        return None if pause is None else max(pause, MIN_PAUSE)

    @property
    def _busy_receivers(self) -> list[str]:
        """Receivers with the maximum number of concurrent attempts; a hanging receiver delays no other."""
        self._attempts = +self._attempts  # drops receivers without active attempts
        return [receiver for receiver, count in self._attempts.items() if count >= MAX_CONCURRENT_PER_RECEIVER]

    def _count_attempt(self, delivery: Delivery) -> str:
        receiver = webhook_deliveries.receiver_of(delivery.url)
        self._attempts[receiver] += 1
        return receiver

    async def _send_due(self) -> None:
        while len(self._active) < MAX_CONCURRENT and (
            delivery := await webhook_deliveries.claim_due(self._busy_receivers)
        ):
            receiver = self._count_attempt(delivery)
            task = asyncio.create_task(self._attempt(delivery))
            self._active.add(task)
            task.add_done_callback(partial(self._finish_attempt, receiver))

    def _finish_attempt(self, receiver: str, task: "asyncio.Task[None]") -> None:
        self._active.discard(task)
        self._attempts[receiver] -= 1

    async def _attempt(self, delivery: Delivery) -> None:
        try:
            await self._sender.attempt(delivery)
        except DatabaseUnavailable as error:
            log.warning(TASK_DELAYED, f"Webhook {delivery.id}", error.message)
        except Exception:
            # Its lease expires, and it is tried again.
            log.exception(WEBHOOK_ERROR, delivery.attempts, delivery.id)


def make_webhook_worker(
    settings: Settings, calibrated_confidence: Callable[[Prediction], float | None]
) -> WebhookWorker | None:
    """None if webhooks are disabled. ``calibrated_confidence``: of a prediction, if there is one."""
    if settings.webhook_secret is None:
        return None
    # An HTTP client takes 10 MB and 0.1 s, which most installations can save.
    from app.outbound.webhook_sender import WebhookSender

    secret = settings.webhook_secret.get_secret_value()
    return WebhookWorker(WebhookSender(secret, calibrated_confidence, to_private=settings.webhooks_to_private))
