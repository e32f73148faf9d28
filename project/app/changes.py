"""What people changed: corrections, deletions and keys. Rows are only ever added, with the change they tell of."""

from datetime import datetime, timedelta
from typing import Final

from app.db import execute, unavailable_when_away
from app.models.tortoise import Change

PREDICTION: Final = "prediction.%"


@unavailable_when_away()
async def of_prediction(prediction_id: int) -> list[Change]:
    """What was changed about a prediction, newest first; it may be gone. Raises DatabaseUnavailable."""
    rows = await execute(
        "SELECT * FROM changes WHERE subject_id = $1 AND action LIKE $2 ORDER BY id DESC", [prediction_id, PREDICTION]
    )
    return [Change.of(row) for row in rows]


@unavailable_when_away()
async def page(limit: int, before_id: int | None, since: timedelta | None) -> list[Change]:
    """The newest changes before one, of the last while. Raises DatabaseUnavailable."""
    rows = await execute(
        "SELECT * FROM changes WHERE ($2::bigint IS NULL OR id < $2) "
        "AND ($3::interval IS NULL OR changed_at > now() - $3::interval) ORDER BY id DESC LIMIT $1",
        [limit, before_id, since],
    )
    return [Change.of(row) for row in rows]


def utc(value: datetime | None) -> str:
    """A time for people; a dash where there is none."""
    return f"{value:%Y-%m-%d %H:%M} UTC" if value else "-"
