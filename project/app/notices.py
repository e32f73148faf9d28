"""Being told of changes to predictions, whoever makes them: PostgreSQL's LISTEN, on a connection of its own."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from app import crud
from app.db import own_connection, said, unavailable_when_away
from app.domain import DatabaseUnavailable, Status
from app.log_events import NOTICES_ERROR, NOTICES_INTERRUPTED
from app.models.tortoise import Prediction
from app.repeating import alongside

log = logging.getLogger(__name__)

CHANNEL: Final = "predictions"
"""What the triggers of the migrations notify: ``12 succeeded,13 processing``; ``deleted`` of a row that is gone."""
PROBE_SECONDS: Final = 10.0
"""A connection that was cut off says nothing, so it is asked."""
RECONNECT_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 2.0
"""Who waits looks at the row so often, whatever became of the notice of its change."""
MOST_UNREAD: Final = 10_000
"""Changes that are kept for somebody who does not keep up."""
DELETED: Final = "deleted"
FINISHED: Final = frozenset({Status.SUCCEEDED, Status.FAILED})


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a prediction: its status now, or ``deleted``."""

    id: int
    status: str


class Feed:
    """Every change since it was opened; somebody who does not keep up is told that some are missing."""

    def __init__(self) -> None:
        self._unread: deque[Change] = deque()
        self._arrived = asyncio.Event()
        self._missed = False

    def put(self, changes: list[Change]) -> None:
        """Add changes, or note that there were too many."""
        if len(self._unread) + len(changes) > MOST_UNREAD:
            self.note_missed()
        else:
            self._unread.extend(changes)
        self._arrived.set()

    def note_missed(self) -> None:
        """Some changes will never be told."""
        self._unread.clear()
        self._missed = True
        self._arrived.set()

    async def next(self, seconds: float) -> list[Change] | None:
        """What came, after ``seconds`` at most, empty where nothing did; None where changes are missing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        self._arrived.clear()
        if self._missed:
            self._missed = False
            return None
        changes = list(self._unread)
        self._unread.clear()
        return changes


class _Watchers:
    """Who is to be woken for which prediction."""

    def __init__(self) -> None:
        self._events: dict[int, set[asyncio.Event]] = {}

    @contextmanager
    def of(self, prediction_id: int) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        events = self._events.setdefault(prediction_id, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events:
                self._events.pop(prediction_id, None)

    def wake(self, changes: list[Change]) -> None:
        for change in changes:
            for event in self._events.get(change.id, ()):
                event.set()

    def wake_all(self) -> None:
        for events in self._events.values():
            for event in events:
                event.set()


class Notices:
    """Wakes those who wait for predictions."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._following = _Watchers()
        self._awaiting = _Watchers()
        self._feeds: set[Feed] = set()
        self._tried = asyncio.Event()
        self.ended = asyncio.Event()
        """The service stops: whoever follows changes without end has to end."""

    def end(self) -> None:
        """Let those who follow changes go."""
        self.ended.set()
        self._wake_all()
        for feed in self._feeds:
            feed.put([])

    async def finished(
        self, prediction_id: int, seconds: float, get: Callable[[int], Awaitable[Prediction]] = crud.get
    ) -> Prediction:
        """A prediction when it is finished, or as it is after ``seconds``, or when the service stops.

        ``get``: reads it; many wait at once, so together with others.

        Raises PredictionNotFound, also where it is deleted meanwhile, or DatabaseUnavailable.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        with self._awaiting.of(prediction_id) as changed:
            while True:
                changed.clear()
                prediction = await get(prediction_id)
                left = deadline - asyncio.get_running_loop().time()
                if prediction.status in FINISHED or left <= 0 or self.ended.is_set():
                    return prediction
                await self.wait_for(changed, min(left, LOOK_SECONDS))

    async def wait_for(self, changed: asyncio.Event, seconds: float) -> bool:
        """Whether an event of ``watch`` came within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                return await changed.wait()
        except TimeoutError:
            return False

    @contextmanager
    def feed(self) -> Iterator[Feed]:
        """Every change that happens while inside."""
        feed = Feed()
        self._feeds.add(feed)
        try:
            yield feed
        finally:
            self._feeds.discard(feed)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Notices arrive while inside; where the database goes away, again once it is back."""
        async with alongside(self._listen_forever()):
            await self._tried.wait()
            yield

    def watch(self, prediction_id: int) -> AbstractContextManager[asyncio.Event]:
        """An event that is set by every change of a prediction, and where changes may have been missed."""
        return self._following.of(prediction_id)

    async def _listen_forever(self) -> None:
        while True:
            try:
                async with unavailable_when_away(), own_connection(self._url) as connection:
                    lost = asyncio.Event()
                    connection.add_termination_listener(lambda _, lost=lost: lost.set())
                    await connection.add_listener(CHANNEL, self._on_notice)
                    # What happened while nobody listened is looked up by those who wait.
                    self._tried.set()
                    self._wake_all()
                    for feed in self._feeds:
                        feed.note_missed()
                    while not await self.wait_for(lost, PROBE_SECONDS):
                        await connection.execute("SELECT 1")
                    raise ConnectionResetError("the database closed the connection")
            except DatabaseUnavailable as error:
                log.debug(NOTICES_INTERRUPTED, said(error))
                self._tried.set()
                await asyncio.sleep(RECONNECT_SECONDS)
            except Exception:
                # Who waits looks for themselves meanwhile, a little later.
                log.exception(NOTICES_ERROR)
                self._tried.set()
                await asyncio.sleep(RECONNECT_SECONDS)

    def _on_notice(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        pairs = (change.split(" ", 1) for change in str(payload).split(","))
        changes = [Change(int(prediction_id), status) for prediction_id, status in pairs]
        self._following.wake(changes)
        # Who waits for the end reads the row then, and not when a worker takes it.
        self._awaiting.wake([change for change in changes if change.status == DELETED or change.status in FINISHED])
        for feed in self._feeds:
            feed.put(changes)

    def _wake_all(self) -> None:
        self._following.wake_all()
        self._awaiting.wake_all()
