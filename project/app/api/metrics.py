"""Serves Prometheus metrics."""

import asyncio
from typing import Final

from fastapi import APIRouter, Response

from app import metrics
from app.api.deps import Running, Runtime
from app.backlog import ASKED_AT
from app.db import execute, translate_connection_errors
from app.domain import DatabaseUnavailable
from app.fleet import ALIVE_FOR

router = APIRouter(tags=["service"])

LOOK_SECONDS: Final = 2.0
OPEN: Final = ("pending", "processing")
_QUEUE = f"""
SELECT status, count(*) AS depth, extract(epoch from now() - min({ASKED_AT}))::float8 AS age
FROM predictions WHERE status IN ('pending', 'processing') GROUP BY status
"""  # noqa: S608 - a part of ours # nosec B608
_WORKERS = """
SELECT name, extract(epoch from now() - seen_at)::float8 AS age FROM workers
WHERE seen_at > now() - interval '10 minutes'
"""


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"description": "Metrics in Prometheus' text format", "content": {"text/plain": {}}}},
)
async def read_metrics(runtime: Running) -> Response:
    """Counters of this process, and gauges of the queue and the workers, which are the same for every process."""
    try:
        # Shorter than Prometheus' own timeout, so that this process's counters are always reported.
        async with asyncio.timeout(LOOK_SECONDS):
            await _look(runtime)
    except (DatabaseUnavailable, TimeoutError):
        metrics.forget_shared()
    return Response(metrics.exposition(), media_type=metrics.CONTENT_TYPE)


@translate_connection_errors()
async def _look(runtime: Runtime) -> None:
    queue = {row["status"]: row for row in await execute(_QUEUE)}
    workers = await execute(_WORKERS)
    alive = sum(worker["age"] < ALIVE_FOR.total_seconds() for worker in workers)
    if runtime.settings.queue == "local":
        alive = int((await runtime.dispatch.health(database_answers=True)).worker == "ok")
    metrics.DATABASE_UP.set(1)
    for status in OPEN:
        metrics.QUEUE_DEPTH.labels(status).set(queue[status]["depth"] if status in queue else 0)
    metrics.QUEUE_AGE.set(max((row["age"] for row in queue.values()), default=0))
    metrics.WORKERS.set(alive)
    metrics.HEARTBEAT_AGE.clear()
    for worker in workers:
        metrics.HEARTBEAT_AGE.labels(worker["name"]).set(worker["age"])
