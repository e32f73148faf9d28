"""Unfinished predictions: how many there are, and how long they have been waiting.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

from dataclasses import dataclass
from typing import Final

from app.db.connection import execute
from app.db.errors import translate_connection_errors

REQUESTED_AT: Final = """
greatest(created_at, (SELECT max(replaced_at) FROM past_answers WHERE prediction_id = predictions.id))
"""
"""Since when a prediction has been waiting: it may have been classified before."""

_UNFINISHED: Final = """
SELECT (SELECT count(*) FROM predictions WHERE status IN ('pending', 'processing')) AS count,
       (SELECT coalesce(max(id), 0) FROM predictions) AS last_id
"""
_BY_STATUS: Final = f"""
SELECT status, count(*) AS count, extract(epoch from now() - min({REQUESTED_AT}))::float8 AS age
FROM predictions WHERE status IN ('pending', 'processing') GROUP BY status
"""  # noqa: S608 - an expression of ours # nosec B608


@dataclass(frozen=True, slots=True)
class Depth:
    """Number of predictions in a state, and the age of the oldest one in seconds."""

    count: int
    age: float


@translate_connection_errors()
async def unfinished() -> tuple[int, int]:
    """Number of unfinished predictions, and the highest ID of all predictions."""
    (row,) = await execute(_UNFINISHED)
    return int(row["count"]), int(row["last_id"])


@translate_connection_errors()
async def by_status() -> dict[str, Depth]:
    """Unfinished predictions by status; statuses without predictions are missing."""
    return {row["status"]: Depth(row["count"], row["age"]) for row in await execute(_BY_STATUS)}
