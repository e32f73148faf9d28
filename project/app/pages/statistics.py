"""Statistics: counts, latencies, labels and accuracy, with charts drawn on the server."""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from app.api.accuracy import list_accuracy
from app.api.deps import State
from app.db.crud import reviews, statistics
from app.pages.charts import bar_chart
from app.pages.errors import PageRoute
from app.pages.rendering import format_number, format_seconds, page
from app.pages.translation import mark

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PERIODS: Final[Mapping[str, tuple[str, int, timedelta]]] = MappingProxyType(
    {
        "day": (mark("24 hours"), 24, timedelta(hours=1)),
        "week": (mark("7 days"), 28, timedelta(hours=6)),
        "month": (mark("30 days"), 30, timedelta(days=1)),
    }
)
"""Name, number of bars, and length of a bar."""
SHOWN_VERSIONS: Final = 20
"""Versions of models whose accuracy is shown."""
LEAST_CERTAIN: Final = 10


@router.get("/statistics/")
async def show_statistics(
    request: Request, state: State, period: Annotated[Literal["day", "week", "month"], Query()] = "day"
) -> Response:
    """Number of predictions, latency, labels, and accuracy; of a period of time where they change with it."""
    _, count, length = PERIODS[period]
    history = await statistics.history(count, length)
    labels = await statistics.labels()
    return page(
        request,
        "statistics.html",
        periods=PERIODS,
        period=period,
        counts=[(status.value, number) for status, number in (await statistics.counts()).items()],
        uploads=bar_chart(
            [(one.start, one.count) for one in history], lambda value: format_number(int(value)), whole=True
        ),
        medians=bar_chart([(one.start, one.median) for one in history], format_seconds)
        if any(one.median is not None for one in history)
        else None,
        latency=await statistics.latency(),
        queue_age=await statistics.queue_age(),
        labels=labels,
        most_frequent=labels[0][1] if labels else 1,
        accuracy=(await list_accuracy())[:SHOWN_VERSIONS],
        corrections=await statistics.corrections(),
        least_certain=[state.read(one.prediction) for one in await reviews.unreviewed(LEAST_CERTAIN)],
    )
