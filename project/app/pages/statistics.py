"""Statistics charts, drawn on the server."""

from typing import Final

from fastapi import APIRouter, Request, Response

from app.api.accuracy import list_accuracy
from app.db.crud import statistics
from app.pages.errors import PageRoute
from app.pages.rendering import page

router = APIRouter(include_in_schema=False, route_class=PageRoute)

WIDTH: Final = 960
HEIGHT: Final = 160
SHOWN_VERSIONS: Final = 20
"""Versions of models whose accuracy is shown."""


@router.get("/statistics/")
async def show_statistics(request: Request) -> Response:
    """Number of predictions, latency, labels, and correction rate."""
    hours = await statistics.hourly()
    busiest = max(hour.count for hour in hours) or 1
    slowest = max((hour.median or 0 for hour in hours), default=0) or 1
    step = WIDTH / len(hours)
    bars = [
        {"x": step * n + 1, "width": step - 2, "height": HEIGHT * hour.count / busiest, "hour": hour}
        for n, hour in enumerate(hours)
    ]
    medians = [(step * (n + 0.5), hour.median) for n, hour in enumerate(hours) if hour.median is not None]
    points = [(x, HEIGHT * (1 - median / slowest)) for x, median in medians]
    labels = await statistics.labels()
    return page(
        request,
        "statistics.html",
        counts=[(status.value, count) for status, count in (await statistics.counts()).items()],
        bars=bars,
        busiest=busiest,
        points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points),
        slowest=slowest,
        latency=await statistics.latency(),
        labels=labels,
        most_frequent=labels[0][1] if labels else 1,
        accuracy=(await list_accuracy())[:SHOWN_VERSIONS],
        corrections=await statistics.corrections(),
        width=WIDTH,
        height=HEIGHT,
    )
