"""The worker process: consumes jobs from the queue, on any host, until it is stopped (``classifier worker``)."""

import asyncio
import logging
import os
import signal
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from prometheus_client import start_http_server

from app import fleet, metrics, ownership, queue, tracing
from app.catalog import read_models
from app.config import Settings
from app.db import connected, database_url
from app.deliverer import AT_ONCE, LOOK_SECONDS, make_webhook_worker
from app.domain import DatabaseUnavailable, StartupError
from app.engine import Engine
from app.engine.checker import ModelProbe
from app.engine.loading import load_registry, loaded, engine_config
from app.log_events import JOBS_RECOVERED, STOPPED, STOPPING, TAKING_JOBS, WORKER_LEAVES_LATE, WORKER_STOPPED_AT_ONCE
from app.registry import Registry
from app.repeating import repeating
from app.retention import run_retention
from app.storage import make_storage
from app.sweeper import expire_records, run_sweeper
from app.worker import Worker

log = logging.getLogger(__name__)

STOPPED_AT_ONCE: Final = 1
MAX_JOBS_PER_THREAD: Final = 32
"""Jobs taken concurrently: enough that threads do not wait for the queue's pauses of 0.1 s."""


async def work(settings: Settings) -> None:
    """Consume jobs until SIGTERM or SIGINT, then finish the active ones; a second signal ends the process immediately.

    Jobs unfinished after SHUTDOWN_SECONDS are released. Raises StartupError.
    """
    if settings.queue != "pgqueuer":
        raise StartupError("A worker needs the queue: set QUEUE=pgqueuer here and for `serve`.")
    stop = _stop_on_signals()
    registry = await asyncio.to_thread(load_registry, settings)
    orders = engine_config(settings, registry.default)
    engine, checker = Engine(orders), ModelProbe(orders, registry)
    storage = make_storage(settings)
    await storage.prepare()
    worker = Worker(engine, storage, settings.retry_policy, settings.worker_threads, from_queue=True)
    async with (
        _measured(settings),
        engine.running(),
        database_url(settings) as url,
        connected(url, settings),
        loaded(engine, checker, registry, everything=settings.models_loading == "start"),
    ):
        await queue.check_installed()
        await ownership.check(storage)
        taking = partial(queue.Jobs, url, heartbeat=settings.heartbeat_seconds, poll=settings.recover_seconds)
        at_once = settings.worker_threads * MAX_JOBS_PER_THREAD
        jobs = [taking(queue.CLASSIFY, worker.run_job, at_once=at_once)]
        async with AsyncExitStack() as beside:
            await beside.enter_async_context(_announced(engine, registry))
            await beside.enter_async_context(run_sweeper(storage, settings))
            await beside.enter_async_context(run_retention(storage, settings))
            await beside.enter_async_context(expire_records())
            await beside.enter_async_context(repeating(_reconcile, settings.recover_seconds, "Recovering lost jobs"))
            await beside.enter_async_context(
                repeating(queue.prune, settings.recover_seconds, "Pruning the queue's log")
            )
            if webhook_worker := make_webhook_worker(settings):
                # A consumer of its own, so that slow receivers do not delay predictions.
                jobs.append(taking(queue.DELIVER, webhook_worker.run_job, at_once=AT_ONCE))
                looking = repeating(queue.enqueue_deliveries, LOOK_SECONDS, "Finding due webhooks")
                await beside.enter_async_context(looking)
            tasks = [asyncio.create_task(one.run(stop)) for one in jobs]
            log.info(TAKING_JOBS)
            await stop.wait()
            log.info(STOPPING)
            _, left = await asyncio.wait(tasks, timeout=settings.shutdown_seconds)
            if left:
                await worker.release_all()
                await asyncio.wait(left, timeout=settings.shutdown_seconds)
    log.info(STOPPED)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            log.warning(WORKER_STOPPED_AT_ONCE)
            os._exit(STOPPED_AT_ONCE)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop


@asynccontextmanager
async def _measured(settings: Settings) -> AsyncIterator[None]:
    """Expose metrics and send traces while inside. Raises StartupError."""
    async with tracing.sending(settings.traces_url):
        if not settings.metrics_port:
            yield
            return
        try:
            server, thread = start_http_server(settings.metrics_port, settings.host, metrics.REGISTRY)
        except OSError as error:
            told = f"Cannot serve /metrics on {settings.host}:{settings.metrics_port}: {error.strerror or error}."
            raise StartupError(f"{told} Set METRICS_PORT to another port.") from error
        try:
            yield
        finally:
            await asyncio.to_thread(server.shutdown)
            thread.join()
            server.server_close()


@asynccontextmanager
async def _announced(engine: Engine, registry: Registry) -> AsyncIterator[None]:
    """Announce this worker to the web processes while inside, as long as its engine is alive."""
    worker_id, name = uuid.uuid4(), f"{socket.gethostname()}:{os.getpid()}"

    async def announce() -> None:
        if engine.is_alive:
            models = await asyncio.to_thread(read_models, registry, await engine.loaded())
            await fleet.announce(worker_id, name, models)

    async with repeating(announce, fleet.ANNOUNCE_SECONDS, "Sending this worker's heartbeat"):
        yield
    try:
        await fleet.leave(worker_id)
    except DatabaseUnavailable:
        log.debug(WORKER_LEAVES_LATE, fleet.ALIVE_FOR)


async def _reconcile() -> None:
    """Give predictions that lost their job a new one."""
    if lost := await queue.reconcile():
        log.info(JOBS_RECOVERED, lost)
