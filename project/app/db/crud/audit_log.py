"""Audit log: changes, sign-ins, exports and maintenance. No row is ever modified.

The row of a change is added in the same statement as the change.
"""

import json
from datetime import datetime, timedelta
from typing import Any, Final

from app.db.connection import execute
from app.db.driver_internals import from_row
from app.db.errors import translate_connection_errors
from app.domain import Caller
from app.models.tortoise import Change

PREDICTION: Final = "prediction.%"


_RECORD: Final = """
INSERT INTO changes (changed_at, key_id, who, action, subject_id, after, address)
VALUES (now(), $1, $2, $3, $4, $5::jsonb, $6)
"""


@translate_connection_errors()
async def record(action: str, actor: Caller, subject_id: int = 0, details: dict[str, Any] | None = None) -> None:
    """Add an entry about something that changes no row, such as an export; ``subject_id``: 0 if there is no subject.

    Raises DatabaseUnavailable.
    """
    values = [actor.key_id, actor.name, action, subject_id, json.dumps(details) if details else None]
    await execute(_RECORD, [*values, actor.address or None])


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
