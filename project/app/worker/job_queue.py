"""The job queue for workers on any number of hosts (``QUEUE=pgqueuer``).

A job is the ID of a prediction to classify or a webhook to deliver. It is added in the transaction that makes the row
pending, so neither exists without the other; the row alone records the outcome (record 14).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import FailingListenerError, RetryRequested
from pgqueuer.domain.models import Job

from app.db.advisory_locks import ENQUEUE_DELIVERIES, INSTALL_QUEUE, RECONCILE_JOBS
from app.db.connection import dedicated_connection, raw_connection
from app.db.crud import jobs
from app.db.errors import describe_error, translate_connection_errors
from app.db.transactions import transaction
from app.domain import DatabaseUnavailable, StartupError
from app.observability import tracing
from app.observability.log_context import log_fields
from app.observability.log_events import JOB_ERROR, JOBS_ERROR, JOBS_INTERRUPTED, JOBS_RECOVERED, QUEUE_NOT_TIDY
from app.worker.pgqueuer_driver import queries, queue_manager

log = logging.getLogger(__name__)

CLASSIFY: Final = "classify"
DELIVER: Final = "deliver"
REQUEST_ID: Final = "request_id"
"""Header of a job: the ID of the request that created it."""

RETRY_DELAY: Final = timedelta(seconds=1)
RESTART_SECONDS: Final = 1.0
MAX_RECONCILED: Final = 1_000
"""Maximum rows that get a new job in one transaction."""
MAX_PRUNED: Final = 10_000


async def install(url: str) -> None:
    """Create or upgrade the queue's tables. Any number of processes may do so concurrently."""
    async with dedicated_connection(url, statement_seconds=None) as connection:
        await jobs.lock(connection, INSTALL_QUEUE)
        queue = queries(connection)
        if await queue.schema_is_installed():
            await queue.upgrade()
        else:
            await queue.install()


async def check_installed() -> None:
    """Raises StartupError if the queue's tables are missing."""
    if not await jobs.are_tables_installed():
        raise StartupError("The tables of QUEUE=pgqueuer are missing: run `./classifier migrate` with that setting.")


async def enqueue(
    ids: Sequence[int],
    entrypoint: str = CLASSIFY,
    *,
    dedupe_suffix: str = "",
    headers: Sequence[Mapping[str, str]] = (),
) -> None:
    """Add a job for each ID within the current transaction; an ID that has a job gets no second one.

    ``dedupe_suffix``: distinguishes jobs of one ID if a finished one may still exist. ``headers``: passed to the job.
    """
    if not ids:
        return
    count = len(ids)
    async with raw_connection() as connection:
        await queries(connection).enqueue(
            [entrypoint] * count,
            [str(job_id).encode() for job_id in ids],
            [0] * count,
            dedupe_key=[f"{entrypoint}/{job_id}/{dedupe_suffix}" for job_id in ids],
            headers=[dict(each) for each in headers] or None,
            on_conflict="skip",
        )


async def reconcile() -> int:
    """Create jobs for unfinished predictions that have none; returns how many. One process at a time runs this.

    Raises DatabaseUnavailable.
    """
    async with transaction():
        if not await jobs.try_lock(RECONCILE_JOBS):
            return 0
        lost = await jobs.predictions_without_job(CLASSIFY, MAX_RECONCILED)
        await enqueue(lost)
    if lost:
        log.info(JOBS_RECOVERED, len(lost))
    return len(lost)


async def prune() -> None:
    """Delete the queue's log except for the last minutes. Raises DatabaseUnavailable."""
    while await jobs.prune_log(MAX_PRUNED) == MAX_PRUNED:
        log.debug(QUEUE_NOT_TIDY)


async def enqueue_deliveries() -> None:
    """Create jobs for due webhooks that have none. One process at a time runs this.

    Raises DatabaseUnavailable.
    """
    async with transaction():
        if await jobs.try_lock(ENQUEUE_DELIVERIES):
            await enqueue(await jobs.deliveries_without_job(DELIVER, MAX_RECONCILED), DELIVER)


class JobConsumer:
    """Consumes jobs from the queue until it is stopped."""

    def __init__(
        self,
        url: str,
        entrypoint: str,
        work: Callable[[int], Awaitable[timedelta | None]],
        *,
        max_jobs: int,
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
        self._batch = max(1, max_jobs // 2)
        self._heartbeat = timedelta(seconds=heartbeat)
        self._poll = timedelta(seconds=poll)
        self.is_taking = asyncio.Event()
        """Set while it takes jobs; not while it has no connections to the database, for example."""

    async def run(self, stop: asyncio.Event) -> None:
        """Consume jobs until ``stop`` is set, then finish the active ones. Survives database outages."""
        stopping = asyncio.create_task(stop.wait())
        while not stop.is_set():
            try:
                async with translate_connection_errors(), queue_manager(self._url, self.is_taking) as manager:
                    await self._consume(manager, stopping)
            except (DatabaseUnavailable, FailingListenerError) as error:
                log.warning(JOBS_INTERRUPTED, describe_error(error))
            except Exception:
                log.exception(JOBS_ERROR)
            await asyncio.wait([stopping], timeout=RESTART_SECONDS)

    async def _consume(self, manager: QueueManager, stopping: "asyncio.Task[bool]") -> None:
        manager.entrypoint(self._entrypoint)(self._run_job)
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

    async def _run_job(self, job: Job) -> None:
        headers = {name: str(value) for name, value in (job.headers or {}).items()}
        log_context = {name: value for name, value in headers.items() if name == REQUEST_ID}
        subject_id = int(job.payload or b"0")
        with log_fields(**log_context), tracing.job(self._entrypoint, headers, id=subject_id):
            try:
                pause = await self._work(subject_id)
            except Exception as error:
                log.exception(JOB_ERROR, self._entrypoint, job.payload)
                raise RetryRequested(delay=RETRY_DELAY, reason=str(error)) from error
        if pause is not None:
            raise RetryRequested(delay=pause, reason="to be retried")
