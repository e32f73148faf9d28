"""Audit log of corrections, deletions and API keys. Rows are added together with the change and never modified."""

from datetime import datetime, timedelta
from typing import Final

from app.db.connection import execute
from app.db.driver_internals import from_row
from app.db.errors import translate_connection_errors
from app.models.tortoise import Change

PREDICTION: Final = "prediction.%"


@translate_connection_errors()
async def list_for_prediction(prediction_id: int) -> list[Change]:
    """Audit entries of a prediction, newest first, even if it was deleted. Raises DatabaseUnavailable."""
    rows = await execute(
        "SELECT * FROM changes WHERE subject_id = $1 AND action LIKE $2 ORDER BY id DESC", [prediction_id, PREDICTION]
    )
    return [from_row(Change, row) for row in rows]


@translate_connection_errors()
async def page(limit: int, before_id: int | None, since: timedelta | None) -> list[Change]:
    """Audit entries older than ``before_id`` and no older than ``since``, newest first. Raises DatabaseUnavailable."""
    rows = await execute(
        "SELECT * FROM changes WHERE ($2::bigint IS NULL OR id < $2) "
        "AND ($3::interval IS NULL OR changed_at > now() - $3::interval) ORDER BY id DESC LIMIT $1",
        [limit, before_id, since],
    )
    return [from_row(Change, row) for row in rows]


def format_utc(value: datetime | None) -> str:
    """A time for people, or a dash."""
    return f"{value:%Y-%m-%d %H:%M} UTC" if value else "-"
