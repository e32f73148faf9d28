"""Delivers webhooks: in the web process, or in workers that take them from the queue."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from app import deliveries
from app.config import Settings
from app.models.tortoise import Delivery
from app.repeating import repeating

if TYPE_CHECKING:
    from app.webhooks import Sender

from app.log_events import WEBHOOK_ERROR

log = logging.getLogger(__name__)

AT_ONCE: Final = 16
MAX_CONCURRENT_PER_RECEIVER: Final = 4
"""Maximum concurrent attempts: in total, and for each receiver."""
MIN_PAUSE: Final = timedelta(seconds=1)
LOOK_SECONDS: Final = 1.0


class WebhookWorker:
    """Makes attempts at webhooks, several at a time, without delaying predictions."""

    def __init__(self, sender: "Sender") -> None:
        self._sender = sender
        self._in_hand: set[asyncio.Task[None]] = set()
        self._asked: Counter[str] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send due webhooks while inside."""
        async with repeating(self._send_due, LOOK_SECONDS, "Finding due webhooks"):
            yield
        for task in self._in_hand:
            task.cancel()
        if self._in_hand:
            # Their leases expire, and the next start tries again.
            await asyncio.wait(self._in_hand)

    async def run_job(self, delivery_id: int) -> timedelta | None:
        """Make an attempt at a webhook for the queue; returns the pause before the next one, or None."""
        if delivery := await deliveries.claim(delivery_id, self._busy):
            receiver = self._note_asked(delivery)
            try:
                await self._sender.attempt(delivery)
            finally:
                self._asked[receiver] -= 1
        pause = await deliveries.due_in(delivery_id)
        return None if pause is None else max(pause, MIN_PAUSE)

    @property
    def _busy(self) -> list[str]:
        """Receivers with the maximum number of concurrent attempts; a hanging receiver delays no other."""
        self._asked = +self._asked  # drops receivers without active attempts
        return [receiver for receiver, count in self._asked.items() if count >= MAX_CONCURRENT_PER_RECEIVER]

    def _note_asked(self, delivery: Delivery) -> str:
        receiver = deliveries.receiver(delivery.url)
        self._asked[receiver] += 1
        return receiver

    async def _send_due(self) -> None:
        while len(self._in_hand) < AT_ONCE and (delivery := await deliveries.claim_due(self._busy)):
            receiver = self._note_asked(delivery)
            task = asyncio.create_task(self._attempt(delivery))
            self._in_hand.add(task)
            task.add_done_callback(partial(self._note_done, receiver))

    def _note_done(self, receiver: str, task: "asyncio.Task[None]") -> None:
        self._in_hand.discard(task)
        self._asked[receiver] -= 1

    async def _attempt(self, delivery: Delivery) -> None:
        try:
            await self._sender.attempt(delivery)
        except Exception:
            # Its lease expires, and it is tried again.
            log.exception(WEBHOOK_ERROR, delivery.attempts, delivery.id)


def make_webhook_worker(settings: Settings) -> WebhookWorker | None:
    """None if webhooks are disabled."""
    if settings.webhook_secret is None:
        return None
    # An HTTP client takes 10 MB and 0.1 s, which most installations can save.
    from app.webhooks import Sender

    return WebhookWorker(Sender(settings.webhook_secret.get_secret_value(), to_private=settings.webhooks_to_private))
