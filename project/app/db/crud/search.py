"""Filtered pages of predictions, newest first, for the list, its export and the gallery.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Final

from app.db.connection import execute
from app.db.driver_internals import from_row
from app.db.errors import translate_connection_errors
from app.db.transactions import transaction
from app.domain import Status
from app.models.tortoise import Prediction

# Must equal the expression of the index in migration 5; otherwise PostgreSQL does not use the index.
WORDS: Final = (
    "to_tsvector('simple', regexp_replace(coalesce(top_prediction, '') || ' ' || filename, "
    "'[[:punct:][:space:]]+', ' ', 'g'))"
)


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters for predictions; None and the empty string match everything.

    ``label``: the exact top label. ``words``: prefixes of words in the label or file name, all of which must match.
    ``key_id``: of the API key that uploaded them.
    """

    status: Status | None = None
    model: str = ""
    label: str = ""
    min_confidence: float | None = None
    words: str = ""
    key_id: int | None = None

    def conditions(self, values: list[Any]) -> list[str]:
        """SQL conditions; their parameters are appended to ``values``."""
        filters: list[tuple[str, Any]] = []
        if self.status is not None:
            filters.append(("status = {}", self.status))
        if self.model:
            filters.append(("model = {}", self.model))
        if self.label:
            filters.append(("top_prediction = {}", self.label))
        if self.min_confidence is not None:
            filters.append(("confidence >= {}", self.min_confidence))
        if self.key_id is not None:
            filters.append(("key_id = {}", self.key_id))
        if words := re.findall(r"[^\W_]+", unicodedata.normalize("NFC", self.words)):
            filters.append((f"{WORDS} @@ to_tsquery('simple', {{}})", " & ".join(f"{word}:*" for word in words)))
        elif self.words.strip():
            # Only punctuation, which no word starts with.
            filters.append(("{}", False))
        conditions = []
        for condition, value in filters:
            values.append(value)
            conditions.append(condition.format(f"${len(values)}"))
        return conditions


@translate_connection_errors()
async def page(limit: int, before: int | None = None, filters: Filters = Filters()) -> list[Prediction]:
    """At most ``limit`` predictions, newest first; with ``before``, those older than that ID."""
    statement, values = page_statement(limit, before, filters)
    if filters == Filters():
        return [from_row(Prediction, row) for row in await execute(statement, values)]
    async with transaction():
        # A generic plan suits common values; rare ones would cause a scan of the whole table.
        await execute("SET LOCAL plan_cache_mode = force_custom_plan")
        return [from_row(Prediction, row) for row in await execute(statement, values)]


def page_statement(limit: int, before: int | None, filters: Filters) -> tuple[str, list[Any]]:
    """SQL of a page, and its parameters."""
    values: list[Any] = [limit]
    conditions = filters.conditions(values)
    if before is not None:
        values.append(before)
        conditions.append(f"id < ${len(values)}")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT * FROM predictions{where} ORDER BY id DESC LIMIT $1", values  # noqa: S608 - values are parameters # nosec B608
