"""How many predictions wait to be finished, and how fast they are: what tells whether another can be taken."""

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

from app.db import execute, unavailable_when_away
from app.domain import DatabaseUnavailable, Overloaded
from app.log_events import BACKLOG_ERROR, BACKLOG_UNKNOWN
from app.repeating import alongside

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
MOST_OF_THE_TIME: Final = 20
"""A look is followed by a pause so many times as long, however many rows there are to be counted."""
WINDOW_SECONDS: Final = 10.0
"""The rate is that of so many seconds."""
LONGEST_WAIT: Final = 300
KNOWN_SECONDS: Final = 3.0
"""Where nothing was finished for so long, nobody knows when it will be."""
GUESS: Final = 5
"""Seconds, after a time in which there was nothing to be done."""

ASKED_AT: Final = """
greatest(created_at, (SELECT max(replaced_at) FROM past_answers WHERE prediction_id = predictions.id))
"""
"""Since when a prediction has been waiting: it may have been classified before, and be asked for again."""

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
    """Looks at the database again and again, and counts what this process adds in between."""

    def __init__(self, most: int) -> None:
        """``most``: open predictions, above which no further ones are taken."""
        self._most = most
        self._looks: deque[_Look] = deque()
        self._accepting = 0
        self._accepted = 0
        self._refused = 0

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """It is looked at while inside."""
        async with alongside(self._look_forever()):
            yield

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one more prediction, until its row is there. Raises Overloaded that tells when to come again."""
        if self.open >= self._most:
            self._refused += 1
            raise Overloaded(self._retry_after())
        self._accepting += 1
        try:
            yield
        finally:
            self._accepting -= 1

    def note_pending(self) -> None:
        """One more was made pending."""
        self._accepted += 1

    @property
    def open(self) -> int:
        """Predictions that are not finished, as far as is known."""
        return (self._looks[-1].open if self._looks else 0) + self._accepted + self._accepting

    @property
    def rate(self) -> float:
        """Predictions that all workers together finish in a second, while there are any; 0 where that is not known."""
        finished, seconds = self._busy()
        return finished / seconds if seconds else 0.0

    def _busy(self) -> tuple[int, float]:
        """How many were finished lately, and in how many seconds: those in which there was something to be done."""
        pairs = [(one, other) for one, other in pairwise(self._looks) if one.open]
        finished = sum((other.last_id - one.last_id) - (other.open - one.open) for one, other in pairs)
        return max(0, finished), sum(other.at - one.at for one, other in pairs)

    def _retry_after(self) -> int:
        """Seconds until there is a place: those that were refused before are told to come earlier."""
        finished, seconds = self._busy()
        if finished:
            ahead = self.open - self._most + self._refused
            return min(LONGEST_WAIT, math.ceil(ahead * seconds / finished))
        return LONGEST_WAIT if seconds > KNOWN_SECONDS else GUESS

    async def _look_forever(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self._look()
            except DatabaseUnavailable:
                log.debug(BACKLOG_UNKNOWN)
            except Exception:
                log.exception(BACKLOG_ERROR)
            await asyncio.sleep(max(LOOK_SECONDS, (time.monotonic() - began) * MOST_OF_THE_TIME))

    @unavailable_when_away()
    async def _look(self) -> None:
        counted, refused = self._accepted, self._refused
        (row,) = await execute(_LOOK)
        now = time.monotonic()
        before = self._looks[-1] if self._looks else None
        self._looks.append(_Look(now, row["open"], row["last_id"]))
        while now - self._looks[0].at > WINDOW_SECONDS:
            self._looks.popleft()
        # Those accepted since the question was asked may not be in the answer.
        self._accepted -= counted
        # Who was refused comes back as places become free; until then they stand in a line.
        freed = math.ceil(self.rate * (now - before.at)) if before else 0
        self._refused -= min(refused, freed)
