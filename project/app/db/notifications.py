"""Notifications about status changes of predictions, through PostgreSQL's LISTEN on a dedicated connection."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from app import crud
from app.db import dedicated_connection, said, translate_connection_errors
from app.domain import DatabaseUnavailable, Status
from app.log_events import NOTICES_ERROR, NOTICES_INTERRUPTED
from app.models.tortoise import Prediction
from app.repeating import alongside

log = logging.getLogger(__name__)

CHANNEL: Final = "predictions"
"""Payloads are ``12 succeeded,13 processing``; ``deleted`` for a deleted row. Triggers in the migrations send them."""
PROBE_SECONDS: Final = 10.0
"""Interval between probes: a connection that was cut silently reports no error."""
RECONNECT_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 2.0
"""Waiting clients also read the row this often, in case a notification was lost."""
MAX_UNREAD: Final = 10_000
"""Events buffered for a slow subscriber."""
DELETED: Final = "deleted"
FINISHED: Final = frozenset({Status.SUCCEEDED, Status.FAILED})


@dataclass(frozen=True, slots=True)
class Change:
    """A prediction's new status, or ``deleted``."""

    id: int
    status: str


class Feed:
    """A buffer of events since the subscription started; it tells a slow subscriber that events were lost."""

    def __init__(self) -> None:
        self._unread: deque[Change] = deque()
        self._arrived = asyncio.Event()
        self._missed = False

    def put(self, changes: list[Change]) -> None:
        """Add events, or mark the subscription as having lost some."""
        if len(self._unread) + len(changes) > MAX_UNREAD:
            self.note_missed()
        else:
            self._unread.extend(changes)
        self._arrived.set()

    def note_missed(self) -> None:
        """Record that events were lost."""
        self._unread.clear()
        self._missed = True
        self._arrived.set()

    async def next(self, seconds: float) -> list[Change] | None:
        """Events that arrive within ``seconds``, possibly none; None if events were lost."""
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
    """Waiting callers by prediction."""

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


class NotificationListener:
    """Wakes callers that wait for predictions."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._following = _Watchers()
        self._awaiting = _Watchers()
        self._feeds: set[Feed] = set()
        self._tried = asyncio.Event()
        self.ended = asyncio.Event()
        """Set at shutdown: endless streams must end."""

    def end(self) -> None:
        """Stop all streams and waits."""
        self.ended.set()
        self._wake_all()
        for feed in self._feeds:
            feed.put([])

    async def finished(
        self, prediction_id: int, seconds: float, get: Callable[[int], Awaitable[Prediction]] = crud.get
    ) -> Prediction:
        """The prediction once it is finished, or its state after ``seconds`` or at shutdown.

        ``get`` reads the row; many callers wait at once, so it should batch reads.

        Raises PredictionNotFound, also if the prediction is deleted in the meantime, or DatabaseUnavailable.
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
        """Whether an event from ``watch`` was set within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                return await changed.wait()
        except TimeoutError:
            return False

    @contextmanager
    def feed(self) -> Iterator[Feed]:
        """Subscribe to all events while inside."""
        feed = Feed()
        self._feeds.add(feed)
        try:
            yield feed
        finally:
            self._feeds.discard(feed)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Receive notifications while inside, reconnecting after database outages."""
        async with alongside(self._listen_forever()):
            await self._tried.wait()
            yield

    def watch(self, prediction_id: int) -> AbstractContextManager[asyncio.Event]:
        """An event that is set by each change of a prediction, and whenever changes may have been lost."""
        return self._following.of(prediction_id)

    async def _listen_forever(self) -> None:
        while True:
            try:
                async with translate_connection_errors(), dedicated_connection(self._url) as connection:
                    lost = asyncio.Event()
                    connection.add_termination_listener(lambda _, lost=lost: lost.set())
                    await connection.add_listener(CHANNEL, self._on_notice)
                    # Changes may have been missed while disconnected, so every waiting caller reads its row.
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
                # Waiting callers keep polling the row in the meantime.
                log.exception(NOTICES_ERROR)
                self._tried.set()
                await asyncio.sleep(RECONNECT_SECONDS)

    def _on_notice(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        pairs = (change.split(" ", 1) for change in str(payload).split(","))
        changes = [Change(int(prediction_id), status) for prediction_id, status in pairs]
        self._following.wake(changes)
        # Callers waiting for the result are woken by the final status only.
        self._awaiting.wake([change for change in changes if change.status == DELETED or change.status in FINISHED])
        for feed in self._feeds:
            feed.put(changes)

    def _wake_all(self) -> None:
        self._following.wake_all()
        self._awaiting.wake_all()
