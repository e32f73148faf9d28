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

from app.classifier.engine.model_check import ModelProbe
from app.classifier.engine.process import Engine
from app.classifier.engine.startup import engine_config, load_registry, models_loaded
from app.classifier.listing import read_models
from app.classifier.registry import Registry
from app.concurrency import repeating
from app.config import Settings
from app.db.connection import connected, database_url, when_available
from app.db.crud import workers
from app.db.server_checks import check_server
from app.domain import DatabaseUnavailable, StartupError
from app.observability import metrics, tracing
from app.observability.log_events import STOPPED, STOPPING, TAKING_JOBS, WORKER_LEAVES_LATE, WORKER_STOPPED_AT_ONCE
from app.outbound.webhook_worker import MAX_CONCURRENT, SEARCH_SECONDS, make_webhook_worker
from app.storage import make_storage, ownership
from app.storage.retention import expire_records, run_retention
from app.storage.sweeper import run_sweeper
from app.worker import job_queue
from app.worker.calibrating import Calibrator
from app.worker.custom_models import CustomModels, base_version, label_count
from app.worker.model_settings import ModelSettings
from app.worker.shadowing import Shadowing
from app.worker.training import Trainer
from app.worker.worker import Worker

log = logging.getLogger(__name__)

STOPPED_AT_ONCE: Final = 1
HEARTBEAT_INTERVAL_SECONDS: Final = 5.0
"""How often a worker reports itself and its models to the web processes."""
MAX_JOBS_PER_THREAD: Final = 32
"""Jobs taken concurrently: enough that threads do not wait for the queue's pauses of 0.1 s."""


async def work(settings: Settings) -> None:
    """Consume jobs until SIGTERM or SIGINT, then finish the active ones; a second signal ends the process at once.

    Jobs unfinished after SHUTDOWN_SECONDS are released. Raises StartupError.
    """
    if settings.queue != "pgqueuer":
        raise StartupError("A worker needs the queue: set QUEUE=pgqueuer here and for `serve`.")
    stop = _stop_on_signals()
    registry = await asyncio.to_thread(load_registry, settings)
    config = engine_config(settings, registry.default)
    engine, probe = Engine(config), ModelProbe(config, registry)
    storage = make_storage(settings)
    await storage.prepare()
    custom, model_settings = CustomModels(), ModelSettings()
    worker = Worker(
        engine,
        storage,
        settings.retry_policy,
        settings.worker_threads,
        custom,
        model_settings,
        from_queue=True,
        embed=settings.keep_embeddings,
    )
    count = partial(label_count, registry, custom)
    shadowing = Shadowing(
        config, storage, custom, model_settings, lambda: registry.default.name, count, lambda: engine.is_busy
    )
    trainer = Trainer(worker.requests, storage, custom, partial(base_version, registry))
    async with (
        _observed(settings),
        engine.running(),
        database_url(settings) as url,
        connected(url, settings),
        models_loaded(engine, probe, registry, load_all=settings.models_loading == "start"),
    ):
        for check in (
            partial(check_server, url, settings),
            job_queue.check_installed,
            partial(ownership.check, storage),
        ):
            await when_available(check, settings.database_wait_seconds)
        consumer = partial(
            job_queue.JobConsumer, url, heartbeat=settings.heartbeat_seconds, poll=settings.recover_seconds
        )
        max_jobs = settings.worker_threads * MAX_JOBS_PER_THREAD
        classifying = consumer(job_queue.CLASSIFY, worker.run_job, max_jobs=max_jobs)
        consumers = [classifying]
        async with AsyncExitStack() as background:
            for task in (
                _announced(engine, registry, classifying.is_taking),
                run_sweeper(storage, settings),
                run_retention(storage, settings),
                expire_records(),
                custom.following(),
                model_settings.following(),
                Calibrator(model_settings, count).running(),
                trainer.running(),
                shadowing.running(),
                repeating(job_queue.reconcile, settings.recover_seconds, "Recovering lost jobs"),
                repeating(job_queue.prune, settings.recover_seconds, "Pruning the queue's log"),
            ):
                await background.enter_async_context(task)
            if webhook_worker := make_webhook_worker(settings, model_settings.calibrated_confidence):
                # A consumer of its own, so that slow receivers do not delay predictions.
                consumers.append(consumer(job_queue.DELIVER, webhook_worker.run_job, max_jobs=MAX_CONCURRENT))
                await background.enter_async_context(
                    repeating(job_queue.enqueue_deliveries, SEARCH_SECONDS, "Finding due webhooks")
                )
            tasks = [asyncio.create_task(one.run(stop)) for one in consumers]
            log.info(TAKING_JOBS)
            await stop.wait()
            log.info(STOPPING)
            _, unfinished = await asyncio.wait(tasks, timeout=settings.shutdown_seconds)
            if unfinished:
                await worker.release_all()
                await asyncio.wait(unfinished, timeout=settings.shutdown_seconds)
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
async def _observed(settings: Settings) -> AsyncIterator[None]:
    """Expose metrics and send traces while inside. Raises StartupError."""
    async with tracing.sending(settings.traces_url):
        if not settings.metrics_port:
            yield
            return
        try:
            server, thread = start_http_server(settings.metrics_port, settings.host, metrics.REGISTRY)
        except OSError as error:
            message = f"Cannot serve /metrics on {settings.host}:{settings.metrics_port}: {error.strerror or error}."
            raise StartupError(f"{message} Set METRICS_PORT to another port.") from error
        try:
            yield
        finally:
            await asyncio.to_thread(server.shutdown)
            thread.join()
            server.server_close()


@asynccontextmanager
async def _announced(engine: Engine, registry: Registry, taking_jobs: asyncio.Event) -> AsyncIterator[None]:
    """Announce this worker to the web processes while inside, as long as its engine is alive and it takes jobs."""
    worker_id, name = uuid.uuid4(), f"{socket.gethostname()}:{os.getpid()}"

    async def announce() -> None:
        await taking_jobs.wait()
        if engine.is_alive:
            models = await asyncio.to_thread(read_models, registry, await engine.loaded())
            await workers.announce(worker_id, name, models)

    async with repeating(announce, HEARTBEAT_INTERVAL_SECONDS, "Sending this worker's heartbeat"):
        yield
    try:
        await workers.mark_stopped(worker_id)
    except DatabaseUnavailable:
        log.debug(WORKER_LEAVES_LATE, workers.ALIVE_FOR)
