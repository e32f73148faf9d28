"""The backlog of unfinished predictions, and how fast it shrinks: decides whether to accept another upload."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from app.db import execute, translate_connection_errors
from app.domain import DatabaseUnavailable, Overloaded
from app.log_events import BACKLOG_ERROR, BACKLOG_UNKNOWN
from app.repeating import alongside

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
PAUSE_FACTOR: Final = 20
"""A query is followed by a pause this many times its duration, however many rows there are to count."""
WINDOW_SECONDS: Final = 10.0
"""Period over which the rate is measured."""
MAX_RETRY_AFTER: Final = 300
KNOWN_SECONDS: Final = 3.0
"""Without a finished prediction for this long, the rate is unknown."""
GUESS: Final = 5
"""Retry-After in seconds, after a period without work."""

ASKED_AT: Final = """
greatest(created_at, (SELECT max(replaced_at) FROM past_answers WHERE prediction_id = predictions.id))
"""
"""Since when a prediction has been waiting: it may have been classified before."""

_LOOK: Final = """
SELECT (SELECT count(*) FROM predictions WHERE status IN ('pending', 'processing')) AS open,
       (SELECT coalesce(max(id), 0) FROM predictions) AS last_id
"""


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    open: int
    last_id: int


class Backlog:
    """Measures the backlog in the database regularly, and counts what this process adds in between."""

    def __init__(self, most: int) -> None:
        """``limit``: unfinished predictions above which uploads are rejected."""
        self._most = most
        self._samples: deque[_Look] = deque()
        self._accepting = 0
        self._accepted = 0
        self._refused = 0

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Measure the backlog while inside."""
        async with alongside(self._look_forever()):
            yield

    @contextmanager
    def place(self) -> Iterator[None]:
        """Reserve a place for one prediction until its row exists. Raises Overloaded with the time to retry."""
        if self.open >= self._most:
            self._refused += 1
            raise Overloaded(self._retry_after())
        self._accepting += 1
        try:
            yield
        finally:
            self._accepting -= 1

    def count_accepted(self) -> None:
        """Count a prediction that became pending."""
        self._accepted += 1

    @property
    def open(self) -> int:
        """Estimated number of unfinished predictions."""
        return (self._samples[-1].open if self._samples else 0) + self._accepted + self._accepting

    @property
    def rate(self) -> float:
        """Predictions finished per second by all workers, while there are any; 0 if unknown."""
        finished, seconds = self._busy()
        return finished / seconds if seconds else 0.0

    def _busy(self) -> tuple[int, float]:
        """Predictions finished recently, and the seconds during which there was work to do."""
        pairs = [(one, other) for one, other in pairwise(self._samples) if one.open]
        finished = sum((other.last_id - one.last_id) - (other.open - one.open) for one, other in pairs)
        return max(0, finished), sum(other.at - one.at for one, other in pairs)

    def _retry_after(self) -> int:
        """Seconds until a place is free; clients that were rejected earlier are told to come back sooner."""
        finished, seconds = self._busy()
        if finished:
            ahead = self.open - self._most + self._refused
            return min(MAX_RETRY_AFTER, math.ceil(ahead * seconds / finished))
        return MAX_RETRY_AFTER if seconds > KNOWN_SECONDS else GUESS

    async def _look_forever(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self._look()
            except DatabaseUnavailable:
                log.debug(BACKLOG_UNKNOWN)
            except Exception:
                log.exception(BACKLOG_ERROR)
            await asyncio.sleep(max(LOOK_SECONDS, (time.monotonic() - began) * PAUSE_FACTOR))

    @translate_connection_errors()
    async def _look(self) -> None:
        counted, refused = self._accepted, self._refused
        (row,) = await execute(_LOOK)
        now = time.monotonic()
        before = self._samples[-1] if self._samples else None
        self._samples.append(_Look(now, row["open"], row["last_id"]))
        while now - self._samples[0].at > WINDOW_SECONDS:
            self._samples.popleft()
        # The measurement may not include predictions accepted since the query started.
        self._accepted -= counted
        # Rejected clients come back as places become free; until then they count as waiting.
        freed = math.ceil(self.rate * (now - before.at)) if before else 0
        self._refused -= min(refused, freed)
