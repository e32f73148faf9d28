"""Filtered and ordered pages of predictions, for the list, its export and the gallery.

Every function raises DatabaseUnavailable while the database is unavailable.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from app.db.connection import execute
from app.db.driver_internals import from_row
from app.db.errors import translate_connection_errors
from app.db.transactions import transaction
from app.domain import MAX_ID, Decision, Status
from app.models.tortoise import Prediction

# Characters in the syntax of both PostgreSQL and Python. PostgreSQL's own classes depend on the database's locale, and
# count marks on letters (Devanagari, Hebrew, Thai) and emoji as punctuation.
SEPARATORS: Final = (
    r"\u0001-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u00A1\u00A7\u00AB\u00AD\u00B6\u00B7\u00BB\u00BF\u055A-\u055F\u0589"
    r"\u05BE\u05C0\u05C3\u060C\u061B\u061F\u066A-\u066D\u06D4\u0964\u0965\u0E4F\u0E5A\u0E5B\u1680\u2000-\u206F\u2E00-\u2E7F"
    r"\u3000-\u3003\u3008-\u3011\u3014-\u301F\u3030\u30FB\uFE00-\uFE1F\uFE30-\uFE6F\uFF01-\uFF0F\uFF1A-\uFF20\uFF3B-\uFF40"
    r"\uFF5B-\uFF65"
)
"""Spaces, punctuation, and invisible characters: between words."""
SYMBOLS: Final = (
    r"\u00A2-\u00A6\u00A8\u00A9\u00AC\u00AE-\u00B1\u00B4\u00B8\u00D7\u00F7\u20A0-\u20CF\u2190-\u2BFF"
    r"\U0001F000-\U0001FAFF"
)
"""Emoji, arrows, currencies, and other symbols: each is a word."""
# Must equal the expression of the index in migration 10; otherwise PostgreSQL does not use the index.
WORDS: Final = (
    "array_to_tsvector(array_remove(regexp_split_to_array(regexp_replace("
    "lower(normalize(coalesce(top_prediction, '') || ' ' || filename)), "
    f"'([{SYMBOLS}])', ' \\1 ', 'g'), '[{SEPARATORS}]+'), ''))"
)


def words_of(text: str) -> list[str]:
    """The words of a search, as the index splits names."""
    spaced = re.sub(f"([{SYMBOLS}])", r" \1 ", unicodedata.normalize("NFC", text))
    return [word for word in re.split(f"[{SEPARATORS}]+", spaced) if word]


MAX_ALTERNATIVES: Final = 8
"""Queries that one search may become."""
MAX_WORD_LENGTH: Final = 255
"""Characters of the longest file name or label."""


class Reviewed(StrEnum):
    """Whether a person has confirmed or corrected a prediction."""

    YES = "yes"
    NO = "no"
    CONFIRMED = "confirmed"
    CORRECTED = "corrected"


_Condition = tuple[Any, ...]
"""SQL with a place for each parameter, and the parameters."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters for predictions; None and the empty string match everything.

    ``label``: the exact top label. ``labels``: one of these top labels. ``words``: prefixes of words in the label or
    file name, all of which must match. ``meanings``: the words in parts, each with the labels that it means, which
    match as well; without any, ``words`` is the only part.
    ``key_id``: of the API key that uploaded them. ``ids``: only these. ``created_from`` is included,
    ``created_before`` is not; both have a time zone.
    """

    status: Status | None = None
    model: str = ""
    label: str = ""
    min_confidence: float | None = None
    max_confidence: float | None = None
    words: str = ""
    key_id: int | None = None
    reviewed: Reviewed | None = None
    ids: tuple[int, ...] | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    decision: Decision | None = None
    labels: tuple[str, ...] | None = None
    meanings: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def alternatives(self) -> "list[Filters]":
        """Filters without meanings, of which one must match: each part of the words as text or by its meaning.

        Each uses indexes of its own. In one condition, PostgreSQL would look through the table.
        """
        found = [replace(self, words="", meanings=())]
        for text, labels in self.meanings or ((self.words, ()),):
            as_text = [replace(one, words=f"{one.words} {text}") for one in found]
            # Each meaning doubles them, and a client may send many words: the last ones are only text.
            by_meaning = [one.within(labels) for one in found] if 2 * len(found) <= MAX_ALTERNATIVES else []
            found = [*as_text, *(one for one in by_meaning if one.labels)]
        return found

    def within(self, labels: tuple[str, ...]) -> "Filters":
        """These filters, and the top label is one of several."""
        return replace(self, labels=labels if self.labels is None else tuple(set(labels) & set(self.labels)))

    def conditions(self, values: list[Any]) -> list[str]:
        """SQL conditions, all of which must match; their parameters are appended to ``values``."""
        if self.meanings:
            either = (" AND ".join(one.conditions(values)) for one in self.alternatives())
            return [f"({' OR '.join(f'({condition})' for condition in either)})"]
        plain: list[tuple[str, Any]] = [
            ("status = {}", self.status),
            ("model = {}", self.model or None),
            ("decision = {}", self.decision),
            ("confidence >= {}", self.min_confidence),
            ("confidence <= {}", self.max_confidence),
            ("key_id = {}", self.key_id),
            ("created_at >= {}", self.created_from),
            ("created_at < {}", self.created_before),
            ("id = ANY({})", None if self.ids is None else [number for number in self.ids if number <= MAX_ID]),
        ]
        filters: list[_Condition] = [(condition, value) for condition, value in plain if value is not None]
        filters += [*self._label(), *self._reviewed(), *self._words()]
        conditions = []
        for condition, *given in filters:
            first = len(values) + 1
            values += given
            conditions.append(condition.format(*(f"${number}" for number in range(first, len(values) + 1))))
        return conditions

    def _label(self) -> Iterator[_Condition]:
        if self.labels is not None and len(self.labels) == 1:
            # The index has the IDs of one label in their order, but not those of several.
            yield "top_prediction = {}", self.labels[0]
        elif self.labels is not None:
            yield "top_prediction = ANY({})", list(self.labels)
        # Corrections, and labels of earlier versions, are stored in the form in which they were sent.
        # Models write "tiger_cat", and people may write "tiger cat", also as a label of a custom model.
        spellings = {self.label, self.label.replace(" ", "_")}
        forms = spellings | {unicodedata.normalize(form, text) for form in ("NFC", "NFD") for text in spellings}
        if len(forms) > 1:
            yield "top_prediction = ANY({})", sorted(forms)
        elif self.label:
            yield "top_prediction = {}", self.label

    def _reviewed(self) -> Iterator[_Condition]:
        if self.reviewed in {Reviewed.CONFIRMED, Reviewed.CORRECTED}:
            yield "reviewed_at IS NOT NULL AND verdict = {}", self.reviewed
        elif self.reviewed is not None:
            yield "(reviewed_at IS NOT NULL) = {}", self.reviewed == Reviewed.YES

    def _words(self) -> Iterator[_Condition]:
        words = words_of(self.words)
        if words and max(map(len, words)) <= MAX_WORD_LENGTH:
            yield f"{WORDS} @@ lower({{}})::tsquery", " & ".join(f"'{word}':*" for word in words)
        elif self.words.strip():
            # Only punctuation, or a word longer than any: PostgreSQL refuses words above 2046 bytes.
            yield "{}", False


Position = tuple[int | float | datetime, ...]
"""A prediction's place in a list: its values of the order's columns."""


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a list: columns, of which the last is the ID.

    Orders by confidence leave out predictions that have not succeeded.
    """

    columns: tuple[str, ...]
    is_descending: bool

    def position(self, row: Prediction) -> Position:
        """A prediction's place in a list of this order."""
        return tuple(getattr(row, column) for column in self.columns)

    def after(self, position: Position, values: list[Any], *, is_reversed: bool = False) -> str:
        """The SQL condition for what follows a position; reversed, for the position and what comes before it."""
        marks = []
        for value in position:
            values.append(value)
            marks.append(f"${len(values)}")
        operator = "<" if self.is_descending else ">"
        if is_reversed:
            operator = ">=" if self.is_descending else "<="
        return f"({', '.join(self.columns)}) {operator} ({', '.join(marks)})"

    def clause(self, *, is_reversed: bool = False) -> str:
        """ORDER BY of this order."""
        direction = "DESC" if self.is_descending != is_reversed else "ASC"
        return "ORDER BY " + ", ".join(f"{column} {direction}" for column in self.columns)


NEWEST: Final = Order(("id",), is_descending=True)
OLDEST: Final = Order(("id",), is_descending=False)
# The index of these makes lists of a period fast.
NEWEST_BY_TIME: Final = Order(("created_at", "id"), is_descending=True)
OLDEST_BY_TIME: Final = Order(("created_at", "id"), is_descending=False)
LEAST_CERTAIN: Final = Order(("confidence", "id"), is_descending=False)
MOST_CERTAIN: Final = Order(("confidence", "id"), is_descending=True)


class Sort(StrEnum):
    """How clients order a list."""

    NEWEST = "newest"
    OLDEST = "oldest"
    LEAST_CERTAIN = "least_certain"
    MOST_CERTAIN = "most_certain"

    def order(self, filters: Filters) -> Order:
        """The order of predictions that match filters."""
        is_period = filters.created_from is not None or filters.created_before is not None
        if self is Sort.NEWEST:
            return NEWEST_BY_TIME if is_period else NEWEST
        if self is Sort.OLDEST:
            return OLDEST_BY_TIME if is_period else OLDEST
        return LEAST_CERTAIN if self is Sort.LEAST_CERTAIN else MOST_CERTAIN


@translate_connection_errors()
async def page(
    limit: int, after: Position | None = None, filters: Filters = Filters(), order: Order = NEWEST
) -> list[Prediction]:
    """At most ``limit`` predictions; with ``after``, those that follow that position."""
    statement, values = page_statement(limit, after, filters, order)
    if filters == Filters():
        return [from_row(Prediction, row) for row in await execute(statement, values)]
    return [from_row(Prediction, row) for row in await _execute(statement, values)]


@translate_connection_errors()
async def count(limit: int, filters: Filters = Filters()) -> int:
    """The number of matching predictions, at most ``limit``."""
    values: list[Any] = [limit]
    found = _ids(values, filters, "LIMIT $1")
    statement = f"SELECT count(*) AS count FROM (SELECT 1 FROM ({found}) AS ids LIMIT $1) AS matching"  # noqa: S608 - values are parameters # nosec B608
    (row,) = await _execute(statement, values)
    return int(row["count"])


@translate_connection_errors()
async def ids_up_to(limit: int, last: Position, filters: Filters, order: Order) -> list[int]:
    """IDs of at most ``limit`` predictions, from a position backwards."""
    values: list[Any] = [limit]
    condition = order.after(last, values, is_reversed=True)
    clause = order.clause(is_reversed=True)
    found = _ids(values, filters, f"{clause} LIMIT $1", condition)
    statement = f"SELECT id FROM predictions WHERE id IN ({found}) {clause} LIMIT $1"  # noqa: S608 - values are parameters # nosec B608
    return [row["id"] for row in await _execute(statement, values)]


@translate_connection_errors()
async def neighbours(prediction_id: int) -> tuple[int | None, int | None]:
    """The IDs of the next newer and the next older prediction."""
    (row,) = await execute(
        "SELECT (SELECT id FROM predictions WHERE id > $1 ORDER BY id LIMIT 1) AS newer, "
        "(SELECT id FROM predictions WHERE id < $1 ORDER BY id DESC LIMIT 1) AS older",
        [prediction_id],
    )
    return row["newer"], row["older"]


async def _execute(statement: str, values: list[Any]) -> list[dict[str, Any]]:
    """Rows of a statement with a plan of its own: the same plan for all values would scan the table for rare ones."""
    async with transaction():
        await execute("SET LOCAL plan_cache_mode = force_custom_plan")
        return await execute(statement, values)


def page_statement(limit: int, after: Position | None, filters: Filters, order: Order) -> tuple[str, list[Any]]:
    """SQL of a page, and its parameters."""
    values: list[Any] = [limit]
    conditions = [order.after(after, values)] if after is not None else []
    if "confidence" in order.columns:
        # PostgreSQL cannot know that what has failed has no confidence: it would look through all others.
        conditions += ["confidence IS NOT NULL", "status = 'succeeded'"]
    end = f"{order.clause()} LIMIT $1"
    if filters.meanings:
        where = f" WHERE id IN ({_ids(values, filters, end, *conditions)})"
    else:
        where = _where([*filters.conditions(values), *conditions])
    return f"SELECT * FROM predictions{where} {end}", values  # noqa: S608 - values are parameters # nosec B608


def _ids(values: list[Any], filters: Filters, end: str, *conditions: str) -> str:
    """SQL of the IDs of matching predictions: the first ones of each alternative. ``end``: order and limit."""
    return " UNION ".join(
        f"(SELECT id FROM predictions{_where([*one.conditions(values), *conditions])} {end})"  # noqa: S608 - values are parameters # nosec B608
        for one in filters.alternatives()
    )


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""
