"""CSV (RFC 4180) that spreadsheets can open without running anything."""

import csv
from collections.abc import Iterable
from io import StringIO
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""Prefixes that spreadsheets evaluate as formulas."""


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Lines for rows; text that a spreadsheet would evaluate as a formula starts with an apostrophe."""
    file = StringIO(newline="")
    csv.writer(file).writerows([_escape_formula(value) for value in row] for row in rows)
    return file.getvalue()


def _escape_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
