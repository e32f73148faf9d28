"""Notifications about the status of predictions and trainings, by PostgreSQL's LISTEN on a dedicated connection."""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Literal

from app.concurrency import in_background
from app.db.connection import dedicated_connection
from app.db.crud import predictions, trainings
from app.db.errors import describe_error, translate_connection_errors
from app.domain import DatabaseUnavailable, Status
from app.models.tortoise import Prediction, Training
from app.observability.log_events import NOTICES_ERROR, NOTICES_INTERRUPTED

log = logging.getLogger(__name__)

CHANNEL: Final = "predictions"
"""Payloads are ``12 succeeded,13 processing``; ``deleted`` for a deleted row. Triggers in the migrations send them."""
TRAININGS: Final = "trainings"
"""Channel of the trainings of custom models; payloads are ``12 succeeded``."""
PROBE_SECONDS: Final = 10.0
"""Interval between probes: a connection that was cut silently reports no error."""
RECONNECT_SECONDS: Final = 1.0
POLL_SECONDS: Final = 2.0
"""Waiting clients also read the row this often, in case a notification was lost."""
MAX_UNREAD: Final = 10_000
"""Events buffered for a slow subscriber."""
LOCK_BITS: Final = 62
DELETED: Final = "deleted"
FINISHED: Final = frozenset({Status.SUCCEEDED, Status.FAILED})


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """The new status of a prediction or training; ``deleted`` for a deleted prediction."""

    id: int
    status: str
    kind: Literal["prediction", "training"] = "prediction"


class Subscription:
    """A buffer of events since the subscription started; it tells a slow subscriber that events were lost."""

    def __init__(self) -> None:
        self._unread: deque[StatusEvent] = deque()
        self._arrived = asyncio.Event()
        self._has_missed = False

    def put(self, events: list[StatusEvent]) -> None:
        """Add events, or mark the subscription as having lost some."""
        if len(self._unread) + len(events) > MAX_UNREAD:
            self.mark_missed()
        else:
            self._unread.extend(events)
        self._arrived.set()

    def mark_missed(self) -> None:
        """Record that events were lost."""
        self._unread.clear()
        self._has_missed = True
        self._arrived.set()

    async def next(self, seconds: float) -> list[StatusEvent] | None:
        """Events that arrive within ``seconds``, possibly none; None if events were lost."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        self._arrived.clear()
        if self._has_missed:
            self._has_missed = False
            return None
        events = list(self._unread)
        self._unread.clear()
        return events


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

    def wake(self, events: list[StatusEvent]) -> None:
        for change in events:
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
        self._watchers = _Watchers()
        self._waiters = _Watchers()
        self._training_watchers = _Watchers()
        self._subscriptions: set[Subscription] = set()
        self._attempted = asyncio.Event()
        self.process_lock = secrets.randbits(LOCK_BITS)
        """The advisory lock that this process has as long as it lives, on the same connection."""
        self.stopping = asyncio.Event()
        """Set at shutdown: endless streams must end."""

    def stop(self) -> None:
        """Stop all streams and waits."""
        self.stopping.set()
        self._wake_all()
        for subscription in self._subscriptions:
            subscription.put([])

    async def wait_until_finished(
        self, prediction_id: int, seconds: float, get: Callable[[int], Awaitable[Prediction]] = predictions.get
    ) -> Prediction:
        """The prediction once it is finished, or its state after ``seconds`` or at shutdown.

        ``get`` reads the row; many callers wait at once, so it should batch reads.

        Raises PredictionNotFound, also if the prediction is deleted in the meantime, or DatabaseUnavailable.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        with self._waiters.of(prediction_id) as changed:
            while True:
                changed.clear()
                prediction = await get(prediction_id)
                left = deadline - asyncio.get_running_loop().time()
                if prediction.status in FINISHED or left <= 0 or self.stopping.is_set():
                    return prediction
                await self.wait_for(changed, min(left, POLL_SECONDS))

    async def wait_until_trained(self, training_id: int, seconds: float) -> Training:
        """The training once it has ended, or its state after ``seconds`` or at shutdown.

        Raises TrainingNotFound, also if it is deleted in the meantime, or DatabaseUnavailable.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        with self._training_watchers.of(training_id) as changed:
            while True:
                changed.clear()
                training = await trainings.get(training_id)
                left = deadline - asyncio.get_running_loop().time()
                if training.status in FINISHED or left <= 0 or self.stopping.is_set():
                    return training
                await self.wait_for(changed, min(left, POLL_SECONDS))

    async def wait_for(self, changed: asyncio.Event, seconds: float) -> bool:
        """Whether an event from ``watch`` was set within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                return await changed.wait()
        except TimeoutError:
            return False

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Subscribe to all events while inside."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Receive notifications while inside, reconnecting after database outages."""
        async with in_background(self._listen_forever()):
            await self._attempted.wait()
            yield

    def watch(self, prediction_id: int) -> AbstractContextManager[asyncio.Event]:
        """An event that is set by each change of a prediction, and whenever events may have been lost."""
        return self._watchers.of(prediction_id)

    async def _listen_forever(self) -> None:
        while True:
            try:
                async with translate_connection_errors(), dedicated_connection(self._url) as connection:
                    lost = asyncio.Event()
                    connection.add_termination_listener(lambda _, lost=lost: lost.set())
                    await connection.execute("SELECT pg_try_advisory_lock($1)", self.process_lock)
                    await connection.add_listener(CHANNEL, self._on_notification)
                    await connection.add_listener(TRAININGS, self._on_training)
                    # Changes may have been missed while disconnected, so every waiting caller reads its row.
                    self._attempted.set()
                    self._wake_all()
                    for subscription in self._subscriptions:
                        subscription.mark_missed()
                    while not await self.wait_for(lost, PROBE_SECONDS):
                        await connection.execute("SELECT 1")
                    raise ConnectionResetError("the database closed the connection")
            except DatabaseUnavailable as error:
                log.debug(NOTICES_INTERRUPTED, describe_error(error))
                self._attempted.set()
                await asyncio.sleep(RECONNECT_SECONDS)
            except Exception:
                # Waiting callers keep polling the row in the meantime.
                log.exception(NOTICES_ERROR)
                self._attempted.set()
                await asyncio.sleep(RECONNECT_SECONDS)

    def _on_notification(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        pairs = (change.split(" ", 1) for change in str(payload).split(","))
        events = [StatusEvent(int(prediction_id), status) for prediction_id, status in pairs]
        self._watchers.wake(events)
        # Callers waiting for the result are woken by the final status only.
        self._waiters.wake([change for change in events if change.status == DELETED or change.status in FINISHED])
        for subscription in self._subscriptions:
            subscription.put(events)

    def _on_training(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        training_id, status = str(payload).split(" ", 1)
        events = [StatusEvent(int(training_id), status, "training")]
        self._training_watchers.wake(events)
        for subscription in self._subscriptions:
            subscription.put(events)

    def _wake_all(self) -> None:
        for watchers in (self._watchers, self._waiters, self._training_watchers):
            watchers.wake_all()
