"""Statistics over predictions. Every function raises DatabaseUnavailable."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from app.db.connection import execute
from app.db.errors import translate_connection_errors
from app.domain import Status

LABELS: Final = 15
MAX_SAMPLED: Final = 20_000
"""Latencies and labels only cover the newest predictions, so that the page is fast however many there are."""
SPEED_SAMPLE: Final = 500

_COUNTS: Final = "SELECT status, count(*) AS count FROM predictions GROUP BY status"
# Medians leave out cached results, and images that were classified again: these finish long after their upload.
_HISTORY: Final = """
WITH periods AS (
    SELECT generate_series(date_bin($2, now(), 'epoch') - ($1 - 1) * $2, now(), $2) AS start
), made AS (
    SELECT date_bin($2, created_at, 'epoch') AS start, count(*) AS count,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM completed_at - created_at))
               FILTER (WHERE NOT cached AND NOT EXISTS (SELECT FROM past_answers WHERE prediction_id = predictions.id))
               AS median
    FROM predictions WHERE created_at >= date_bin($2, now(), 'epoch') - ($1 - 1) * $2 GROUP BY 1
)
SELECT start, coalesce(count, 0) AS count, median FROM periods LEFT JOIN made USING (start) ORDER BY start
"""
_LATENCY: Final = """
SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99])
       WITHIN GROUP (ORDER BY extract(epoch FROM completed_at - created_at)) AS percentiles
FROM (
    SELECT completed_at, created_at FROM predictions
    WHERE status = 'succeeded' AND NOT cached
        AND NOT EXISTS (SELECT FROM past_answers WHERE prediction_id = predictions.id)
    ORDER BY id DESC LIMIT $1
) AS newest
"""
_QUEUE_AGE: Final = """
SELECT extract(epoch FROM now() - min(created_at))::float8 AS seconds FROM predictions
WHERE status IN ('pending', 'processing')
"""
_LABELS: Final = """
SELECT top_prediction AS label, count(*) AS count
FROM (
    SELECT top_prediction FROM predictions WHERE status = 'succeeded' ORDER BY id DESC LIMIT $1
) AS newest
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT $2
"""
_CORRECTIONS: Final = """
SELECT model, count(*) AS count, count(*) FILTER (WHERE corrected) AS corrected
FROM (
    -- A person may have confirmed the model's own label, or a later model may agree with the person.
    SELECT model, corrected_at IS NOT NULL AND all_predictions->0->>'label' IS DISTINCT FROM top_prediction AS corrected
    FROM predictions WHERE status = 'succeeded' ORDER BY id DESC LIMIT $1
) AS newest
GROUP BY 1 ORDER BY 2 DESC
"""
_SPEED: Final = """
SELECT requested.model, speed.median FROM unnest($1::text[]) AS requested (model)
CROSS JOIN LATERAL (
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM completed_at - started_at)) AS median
    FROM (
        SELECT completed_at, started_at FROM predictions
        WHERE model = requested.model AND status = 'succeeded' AND started_at IS NOT NULL ORDER BY id DESC LIMIT $2
    ) AS newest
) AS speed
WHERE speed.median IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Period:
    """Predictions created in a period, and the median of their duration in seconds; None without any."""

    start: datetime
    count: int
    median: float | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of the time from upload to result, in seconds, of the newest predictions."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class CorrectionRate:
    """A model's newest results: how many there are, and how many people corrected."""

    model: str
    count: int
    corrected: int


@translate_connection_errors()
async def counts() -> dict[Status, int]:
    """Number of predictions in each state."""
    by_status = {Status(row["status"]): int(row["count"]) for row in await execute(_COUNTS)}
    return {status: by_status.get(status, 0) for status in Status}


@translate_connection_errors()
async def history(count: int, length: timedelta) -> list[Period]:
    """The last ``count`` periods of a length including the current one, oldest first."""
    return [Period(**row) for row in await execute(_HISTORY, [count, length])]


@translate_connection_errors()
async def queue_age() -> float | None:
    """Age in seconds of the oldest prediction that is not finished; None without any."""
    (row,) = await execute(_QUEUE_AGE)
    age: float | None = row["seconds"]
    return age


# Excludes predictions that were classified again: they finish long after their upload.
@translate_connection_errors()
async def latency() -> Latency | None:
    """Latency of the newest predictions; None without any."""
    (row,) = await execute(_LATENCY, [MAX_SAMPLED])
    return Latency(*row["percentiles"]) if row["percentiles"] and row["percentiles"][0] is not None else None


@translate_connection_errors()
async def labels() -> list[tuple[str, int]]:
    """The most frequent labels of the newest predictions."""
    return [(row["label"], row["count"]) for row in await execute(_LABELS, [MAX_SAMPLED, LABELS])]


@translate_connection_errors()
async def corrections() -> list[CorrectionRate]:
    """Correction counts of each model over the newest predictions."""
    return [CorrectionRate(**row) for row in await execute(_CORRECTIONS, [MAX_SAMPLED])]


@translate_connection_errors()
async def speeds(models: list[str]) -> dict[str, float]:
    """Median classification time of each model's newest predictions, in seconds; without models that have none."""
    rows: list[dict[str, Any]] = await execute(_SPEED, [models, SPEED_SAMPLE])
    return {row["model"]: row["median"] for row in rows}
