"""The job queue for workers on any number of hosts (``QUEUE=pgqueuer``).

A job is the ID of a prediction to classify or a webhook to deliver. It is added in the transaction that makes the row
pending, so neither exists without the other; the row alone records the outcome (record 14).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import FailingListenerError, RetryRequested
from pgqueuer.domain.models import Job
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.ports.driver import Driver, NotifyCallback
from structlog.contextvars import bound_contextvars

from app import tracing
from app.db import (
    address,
    execute,
    skip_reset,
    dedicated_connection,
    raw_connection,
    said,
    transaction,
    translate_connection_errors,
)
from app.domain import DatabaseUnavailable, StartupError
from app.log_events import JOB_ERROR, JOBS_ERROR, JOBS_INTERRUPTED, QUEUE_NOT_TIDY

log = logging.getLogger(__name__)

CLASSIFY: Final = "classify"
REQUEST_ID: Final = "request_id"
"""Header of a job: the ID of the request that created it."""
DELIVER: Final = "deliver"
# Arbitrary numbers that every process must share.
_INSTALL_LOCK: Final = 8004_2027
_RECONCILE_LOCK: Final = 8004_2028
_DELIVERIES_LOCK: Final = 8004_2030

NEW_JOBS: Final = "table_changed_event"
NOTICE_SECONDS: Final = 0.02
PROBE_INTERVAL: Final = timedelta(seconds=10)
RETRY_DELAY: Final = timedelta(seconds=1)
RESTART_SECONDS: Final = 1.0
MAX_RECONCILED: Final = 1_000
"""Maximum rows that get a new job in one transaction."""

_WITHOUT_JOB: Final = """
SELECT id FROM predictions
WHERE (status = 'pending' OR (status = 'processing' AND lease_expires_at < now())) AND NOT EXISTS (
    SELECT FROM pgqueuer
    WHERE entrypoint = $1 AND status IN ('queued', 'picked') AND split_part(dedupe_key, '/', 2) = predictions.id::text
)
ORDER BY id LIMIT $2
"""
_DELIVERIES_WITHOUT_JOB: Final = """
SELECT id FROM deliveries
WHERE status = 'pending' AND next_attempt_at <= now() AND NOT EXISTS (
    SELECT FROM pgqueuer WHERE status IN ('queued', 'picked') AND dedupe_key = $1 || '/' || deliveries.id || '/'
)
ORDER BY next_attempt_at LIMIT $2
"""
# PgQueuer writes three log rows per job and never deletes any. Nothing here reads them; they help to debug. Several
# processes may prune concurrently without waiting for each other.
_PRUNE_LOG: Final = """
DELETE FROM pgqueuer_log WHERE id IN (
    SELECT id FROM pgqueuer_log WHERE created < now() - interval '10 minutes'
    ORDER BY created LIMIT $1 FOR UPDATE SKIP LOCKED
)
RETURNING id
"""
MAX_PRUNED: Final = 10_000


def _queries(driver: Driver) -> Queries:
    # The log need not survive a crash of PostgreSQL: keeping it out of the WAL saves a third of a job's cost.
    settings = DBSettings(durability=Durability.balanced)
    return Queries(driver, QueryBuilderEnvironment(settings), QueryQueueBuilder(settings))


async def install(url: str) -> None:
    """Create or upgrade the queue's tables. Any number of processes may do so concurrently."""
    async with dedicated_connection(url, statement_seconds=None) as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", _INSTALL_LOCK)
        queries = _queries(AsyncpgDriver(connection))
        if await queries.schema_is_installed():
            await queries.upgrade()
        else:
            await queries.install()


async def check_installed() -> None:
    """Raises StartupError if the queue's tables are missing."""
    (table,) = await execute("SELECT to_regclass('pgqueuer') IS NOT NULL AS exists")
    if not table["exists"]:
        raise StartupError("The tables of QUEUE=pgqueuer are missing: run `./classifier migrate` with that setting.")


async def enqueue(
    ids: Sequence[int],
    entrypoint: str = CLASSIFY,
    *,
    again: str = "",
    carried: Sequence[Mapping[str, str]] = (),
) -> None:
    """Add a job for each ID within the current transaction; an ID that has a job gets no second one.

    ``dedupe_suffix``: distinguishes jobs of one ID if a finished one may still exist. ``headers``: passed to the job.
    """
    if not ids:
        return
    count = len(ids)
    async with raw_connection() as connection:
        await _queries(AsyncpgDriver(connection)).enqueue(
            [entrypoint] * count,
            [str(one).encode() for one in ids],
            [0] * count,
            dedupe_key=[f"{entrypoint}/{one}/{again}" for one in ids],
            headers=[dict(one) for one in carried] or None,
            on_conflict="skip",
        )


async def reconcile() -> int:
    """Create jobs for unfinished predictions that have none; returns how many. One process at a time runs this.

    Raises DatabaseUnavailable.
    """
    async with transaction():
        (row,) = await execute("SELECT pg_try_advisory_xact_lock($1) AS mine", [_RECONCILE_LOCK])
        if not row["mine"]:
            return 0
        lost = [row["id"] for row in await execute(_WITHOUT_JOB, [CLASSIFY, MAX_RECONCILED])]
        await enqueue(lost)
    return len(lost)


@translate_connection_errors()
async def prune() -> None:
    """Delete the queue's log except for the last minutes. Raises DatabaseUnavailable."""
    while len(await execute(_PRUNE_LOG, [MAX_PRUNED])) == MAX_PRUNED:
        log.debug(QUEUE_NOT_TIDY)


async def enqueue_deliveries() -> None:
    """Create jobs for due webhooks that have none. One process at a time runs this.

    Raises DatabaseUnavailable.
    """
    async with transaction():
        (row,) = await execute("SELECT pg_try_advisory_xact_lock($1) AS mine", [_DELIVERIES_LOCK])
        if row["mine"]:
            due = await execute(_DELIVERIES_WITHOUT_JOB, [DELIVER, MAX_RECONCILED])
            await enqueue([delivery["id"] for delivery in due], DELIVER)


class Jobs:
    """Consumes jobs from the queue until it is stopped."""

    def __init__(
        self,
        url: str,
        entrypoint: str,
        work: Callable[[int], Awaitable[timedelta | None]],
        *,
        at_once: int,
        heartbeat: float,
        poll: float,
    ) -> None:
        """``work`` gets an ID and returns the pause after which it should be called again; None: the job is done.

        ``heartbeat``: seconds of silence after which a worker's jobs go to others. ``poll``: seconds between searches
        for jobs whose notification was lost.
        """
        self._url = url
        self._entrypoint = entrypoint
        self._work = work
        self._batch = max(1, at_once // 2)
        self._heartbeat = timedelta(seconds=heartbeat)
        self._poll = timedelta(seconds=poll)

    async def run(self, stop: asyncio.Event) -> None:
        """Consume jobs until ``stop`` is set, then finish the active ones. Survives database outages."""
        stopping = asyncio.create_task(stop.wait())
        while not stop.is_set():
            try:
                async with translate_connection_errors(), _pool(self._url) as pool:
                    await self._run_on(pool, stopping)
            except (DatabaseUnavailable, FailingListenerError) as error:
                log.warning(JOBS_INTERRUPTED, said(error))
            except Exception:
                log.exception(JOBS_ERROR)
            await asyncio.wait([stopping], timeout=RESTART_SECONDS)

    async def _run_on(self, pool: asyncpg.Pool, stopping: "asyncio.Task[bool]") -> None:
        manager = _Manager(_queries(_Driver(pool)))
        manager.entrypoint(self._entrypoint)(self._do)
        stopping.add_done_callback(lambda _: manager.shutdown.set())
        if stopping.done():
            return
        await manager.run(
            dequeue_timeout=self._poll,
            batch_size=self._batch,
            max_concurrent_tasks=self._batch * 2,
            shutdown_on_listener_failure=True,
            heartbeat_timeout=self._heartbeat,
            # Nothing reads its statistics.
            log_aggregation_interval=timedelta(0),
        )

    async def _do(self, job: Job) -> None:
        carried = {name: str(value) for name, value in (job.headers or {}).items()}
        whose = {name: value for name, value in carried.items() if name == REQUEST_ID}
        number = int(job.payload or b"0")
        with bound_contextvars(**whose), tracing.job(self._entrypoint, carried, id=number):
            try:
                pause = await self._work(number)
            except Exception as error:
                log.exception(JOB_ERROR, self._entrypoint, job.payload)
                raise RetryRequested(delay=RETRY_DELAY, reason=str(error)) from error
        if pause is not None:
            raise RetryRequested(delay=pause, reason="to be retried")


class _Driver(AsyncpgPoolDriver):
    """Forwards one notification per burst: each one makes every worker query the queue."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool)
        self.listening = asyncio.Event()

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        """Listen on a channel; notifications of new jobs are throttled."""
        await super().add_listener(channel, NotificationThrottle(callback))
        self.listening.set()


class _Manager(QueueManager):
    """Starts PgQueuer's listener health check only once it listens; earlier, it would report a broken connection."""

    async def _run_periodic_health_check(self, interval: timedelta = PROBE_INTERVAL) -> None:
        driver = self.queries.driver
        assert isinstance(driver, _Driver)
        await driver.listening.wait()
        await super()._run_periodic_health_check(interval)


class NotificationThrottle:
    """Forwards a notification immediately, then the last one of each ``NOTICE_SECONDS``."""

    def __init__(self, callback: NotifyCallback) -> None:
        self._callback = callback
        self._resting = False
        self._last: Any = None

    def __call__(self, notice: str | bytes | bytearray) -> None:
        if NEW_JOBS not in str(notice):
            self._callback(notice)
        elif self._resting:
            self._last = notice
        else:
            self._resting = True
            asyncio.get_running_loop().call_later(NOTICE_SECONDS, self._rested)
            self._callback(notice)

    def _rested(self) -> None:
        self._resting = False
        if self._last is not None:
            notice, self._last = self._last, None
            self(notice)


@asynccontextmanager
async def _pool(url: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await asyncpg.create_pool(
        **address(url), min_size=2, max_size=4, timeout=5, command_timeout=30, reset=skip_reset
    )
    try:
        yield pool
    finally:
        # All jobs are done or the connections are broken; a graceful close could wait for a network that is gone.
        pool.terminate()
