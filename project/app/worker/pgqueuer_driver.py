"""Adapts PgQueuer: throttled notifications, a reliable health check, and its connection pool."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache
from typing import Any, Final

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.ports.driver import Driver, NotifyCallback

from app.db.connection import application_name, connection_options, skip_reset

NEW_JOBS: Final = "table_changed_event"
NOTIFICATION_SECONDS: Final = 0.02
PROBE_INTERVAL: Final = timedelta(seconds=10)


def queries(connection: asyncpg.Connection) -> Queries:
    """PgQueuer's queries on a connection."""
    return _queries(AsyncpgDriver(connection))


@asynccontextmanager
async def queue_manager(url: str, listening: asyncio.Event) -> AsyncIterator[QueueManager]:
    """PgQueuer's consumer, on a connection pool of its own; ``listening`` is set while it hears of new jobs."""
    pool = await asyncpg.create_pool(
        **connection_options(url),
        min_size=2,
        max_size=4,
        timeout=5,
        command_timeout=30,
        reset=skip_reset,
        server_settings={"application_name": application_name()},
    )
    try:
        yield _QueueManager(_queries(ThrottledDriver(pool, listening)))
    finally:
        listening.clear()
        # All jobs are done or the connections are broken; a graceful close could wait for a network that is gone.
        pool.terminate()


def _queries(driver: Driver) -> Queries:
    return Queries(driver, *_builders())


@cache
def _builders() -> tuple[QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder]:
    # The log need not survive a crash of PostgreSQL: keeping it out of the WAL saves a third of a job's cost.
    settings = DBSettings(durability=Durability.balanced)
    # Settings read the environment, which takes longer than all the rest of adding a job.
    return QueryBuilderEnvironment(settings), QueryQueueBuilder(settings), QuerySchedulerBuilder(settings)


class ThrottledDriver(AsyncpgPoolDriver):
    """Forwards one notification per burst: each one makes every worker query the queue."""

    def __init__(self, pool: asyncpg.Pool, listening: asyncio.Event) -> None:
        """``listening``: is set once it listens."""
        super().__init__(pool)
        self.listening = listening

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        """Listen on a channel; notifications of new jobs are throttled."""
        await super().add_listener(channel, NotificationThrottle(callback))
        self.listening.set()


class _QueueManager(QueueManager):
    """Starts PgQueuer's listener health check only once it listens; earlier, it would report a broken connection."""

    async def _run_periodic_health_check(self, interval: timedelta = PROBE_INTERVAL) -> None:
        driver = self.queries.driver
        assert isinstance(driver, ThrottledDriver)
        await driver.listening.wait()
        await super()._run_periodic_health_check(interval)


class NotificationThrottle:
    """Forwards a notification immediately, then the last one of each ``NOTIFICATION_SECONDS``."""

    def __init__(self, callback: NotifyCallback) -> None:
        self._callback = callback
        self._is_throttling = False
        self._last: Any = None

    def __call__(self, payload: str | bytes | bytearray) -> None:
        if NEW_JOBS not in str(payload):
            self._callback(payload)
        elif self._is_throttling:
            self._last = payload
        else:
            self._is_throttling = True
            asyncio.get_running_loop().call_later(NOTIFICATION_SECONDS, self._end_interval)
            self._callback(payload)

    def _end_interval(self) -> None:
        self._is_throttling = False
        if self._last is not None:
            payload, self._last = self._last, None
            self(payload)
