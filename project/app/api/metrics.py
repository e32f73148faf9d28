"""Serves Prometheus metrics."""

import asyncio
from typing import Final

from fastapi import APIRouter, Response

from app.api.deps import AppState, State
from app.db.crud import queue_depth, workers
from app.domain import DatabaseUnavailable
from app.observability import metrics

router = APIRouter(tags=["service"])

DATABASE_SECONDS: Final = 2.0
UNFINISHED: Final = ("pending", "processing")


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"description": "Metrics in Prometheus' text format", "content": {"text/plain": {}}}},
)
async def read_metrics(state: State) -> Response:
    """Counters of this process, and gauges of the queue and the workers, which are the same for every process."""
    try:
        # Shorter than Prometheus' own timeout, so that this process's counters are always reported.
        async with asyncio.timeout(DATABASE_SECONDS):
            await _update_gauges(state)
    except (DatabaseUnavailable, TimeoutError):
        metrics.clear_shared()
    return Response(metrics.exposition(), media_type=metrics.CONTENT_TYPE)


async def _update_gauges(state: AppState) -> None:
    depths = await queue_depth.by_status()
    heartbeats = await workers.heartbeat_ages()
    alive = sum(age < workers.ALIVE_FOR.total_seconds() for _, age in heartbeats)
    if state.settings.queue == "local":
        alive = int((await state.dispatch.health(database_answers=True)).worker == "ok")
    metrics.DATABASE_UP.set(1)
    for status in UNFINISHED:
        metrics.QUEUE_DEPTH.labels(status).set(depths[status].count if status in depths else 0)
    metrics.QUEUE_AGE.set(max((depth.age for depth in depths.values()), default=0))
    metrics.WORKERS.set(alive)
    metrics.HEARTBEAT_AGE.clear()
    for name, age in heartbeats:
        metrics.HEARTBEAT_AGE.labels(name).set(age)
