"""The backlog of unfinished predictions, and how fast it shrinks: decides whether to accept another upload."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from app.concurrency import in_background
from app.db.crud import queue_depth
from app.domain import DatabaseUnavailable, Overloaded
from app.observability.log_events import BACKLOG_ERROR, BACKLOG_UNKNOWN

log = logging.getLogger(__name__)

SAMPLE_SECONDS: Final = 0.5
PAUSE_FACTOR: Final = 20
"""A query is followed by a pause this many times its duration, however many rows there are to count."""
WINDOW_SECONDS: Final = 10.0
"""Period over which the rate is measured."""
MAX_RETRY_AFTER: Final = 300
STALLED_SECONDS: Final = 3.0
"""Without a finished prediction for this long, the rate is unknown."""
DEFAULT_RETRY_AFTER: Final = 5
"""Seconds, after a period without work."""


@dataclass(frozen=True, slots=True)
class _Sample:
    time: float
    unfinished: int
    last_id: int


class Backlog:
    """Measures the backlog in the database regularly, and counts what this process adds in between."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``limit``: unfinished predictions above which uploads are rejected. ``clock``: returns seconds."""
        self._limit = limit
        self._clock = clock
        self._samples: deque[_Sample] = deque()
        self._reserved = 0
        self._accepted = 0
        self._rejected = 0

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        """Measure the backlog while inside."""
        async with in_background(self._measure_forever()):
            yield

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Reserve a place for one prediction until its row exists. Raises Overloaded with the time to retry."""
        self.check()
        self._reserved += 1
        try:
            yield
        finally:
            self._reserved -= 1

    def check(self) -> None:
        """Raises Overloaded if there is no place for another prediction."""
        if self.unfinished >= self._limit:
            self._rejected += 1
            raise Overloaded(self._retry_after())

    def count_accepted(self) -> None:
        """Count a prediction that became pending."""
        self._accepted += 1

    @property
    def unfinished(self) -> int:
        """Estimated number of unfinished predictions."""
        return (self._samples[-1].unfinished if self._samples else 0) + self._accepted + self._reserved

    @property
    def rate(self) -> float:
        """Predictions finished per second by all workers, while there are any; 0 if unknown."""
        finished, seconds = self._recent()
        return finished / seconds if seconds else 0.0

    def _recent(self) -> tuple[int, float]:
        """Predictions finished recently, and the seconds during which there was work to do."""
        pairs = [(earlier, later) for earlier, later in pairwise(self._samples) if earlier.unfinished]
        finished = sum(
            (later.last_id - earlier.last_id) - (later.unfinished - earlier.unfinished) for earlier, later in pairs
        )
        return max(0, finished), sum(later.time - earlier.time for earlier, later in pairs)

    def _retry_after(self) -> int:
        """Seconds until a place is free; clients that were rejected earlier get a shorter time."""
        finished, seconds = self._recent()
        if finished:
            ahead = self.unfinished - self._limit + self._rejected
            return min(MAX_RETRY_AFTER, math.ceil(ahead * seconds / finished))
        return MAX_RETRY_AFTER if seconds > STALLED_SECONDS else DEFAULT_RETRY_AFTER

    async def _measure_forever(self) -> None:
        while True:
            started_at = self._clock()
            try:
                await self._measure()
            except DatabaseUnavailable:
                log.debug(BACKLOG_UNKNOWN)
            except Exception:
                log.exception(BACKLOG_ERROR)
            await asyncio.sleep(max(SAMPLE_SECONDS, (self._clock() - started_at) * PAUSE_FACTOR))

    async def _measure(self) -> None:
        accepted, rejected = self._accepted, self._rejected
        count, last_id = await queue_depth.unfinished()
        now = self._clock()
        previous = self._samples[-1] if self._samples else None
        self._samples.append(_Sample(now, count, last_id))
        while now - self._samples[0].time > WINDOW_SECONDS:
            self._samples.popleft()
        # The measurement may not include predictions accepted since the query started.
        self._accepted -= accepted
        # Rejected clients come back as places become free; until then they count as waiting.
        freed = math.ceil(self.rate * (now - previous.time)) if previous else 0
        self._rejected -= min(rejected, freed)
