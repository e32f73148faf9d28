"""Finds predictions whose process died, and gives pending ones to the worker."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from app.db.crud import claims
from app.domain import RetryPolicy
from app.observability.log_events import PREDICTIONS_RECOVERED
from app.observability.task_errors import log_errors
from app.worker.outcome_log import record_outcome
from app.worker.worker import Worker

log = logging.getLogger(__name__)

MAX_RECOVERED: Final = 2_000
LATE_SECONDS: Final = 30.0
"""How late a search may be (database statements have time limits) while the worker still counts as alive."""


class Recovery:
    """Searches for lost predictions regularly, for a worker that is not fed by a queue."""

    def __init__(self, worker: Worker, policy: RetryPolicy) -> None:
        self._worker = worker
        self._policy = policy
        self._searched_at = self._alive_for = 0.0

    @property
    def is_alive(self) -> bool:
        """Whether the last search was recent."""
        return time.monotonic() - self._searched_at < self._alive_for

    @asynccontextmanager
    async def running(self, interval: float, *, only_process: bool) -> AsyncIterator[None]:
        """Search now and every ``interval`` seconds while inside; then release the worker's predictions.

        ``only_process``: no other process uses this database, so predictions processing at the start are lost.
        """
        # Before anything is claimed: afterwards, predictions that are processing may be ours.
        await self._recover(all_processing=only_process)
        self._searched_at, self._alive_for = time.monotonic(), interval + LATE_SECONDS
        searching = asyncio.create_task(self._search_forever(interval))
        try:
            yield
        finally:
            self._alive_for = 0.0
            searching.cancel()
            await asyncio.wait([searching])
            await self._worker.release_all()

    async def _search_forever(self, interval: float) -> None:
        while True:
            await self._start_pending()
            self._searched_at = time.monotonic()
            await asyncio.sleep(interval)
            await self._recover(all_processing=False)

    async def _recover(self, *, all_processing: bool) -> None:
        with log_errors("Recovering lost predictions"):
            started_at = time.monotonic()
            recovered = await claims.recover(self._policy, self._worker.active_ids, all_processing=all_processing)
            for failed in recovered.failed:
                record_outcome(failed, None, started_at)
            if recovered.failed or recovered.orphaned:
                log.info(PREDICTIONS_RECOVERED, recovered.orphaned, len(recovered.failed))

    async def _start_pending(self) -> None:
        # A limited number, and more than the threads finish until the next search.
        active = self._worker.active_ids
        room = MAX_RECOVERED - len(active)
        with log_errors("Starting pending predictions"):
            if room > 0:
                for prediction_id, attempts in await claims.pending(active, room):
                    self._worker.start(prediction_id, attempts=attempts)
