"""Parsers of query parameters and headers."""

from datetime import UTC, datetime

import pytest
from fastapi import Request
from fastapi.exceptions import RequestValidationError

from app.api.params import decode_cursor, encode_cursor, wait_seconds
from app.db.crud.search import LEAST_CERTAIN, NEWEST, NEWEST_BY_TIME, OLDEST_BY_TIME, Order, Position
from app.uploads.intake import display_filename


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("", None),
        ("wait=10", 10),
        ("Wait = 10", 10),
        ('wait="10"', 10),
        ("respond-async, wait=5", 5),
        ("wait=5; x=1, return=minimal", 5),
        ("wait=0", 0),
        ("wait=100000", 60),
        ("wait=99999999999", 60),
        ("wait=007", 7),
        ('foo="a", wait=5', 5),
        ("wait", 60),
        ("respond-async, wait", 60),
        ("wait; x=1", 60),
        ('wait=""', 60),
        ("wait=", 60),
        ("waiting", None),
        ("wait 10", None),
        ("wait=-1", None),
        ("wait=ten", None),
        ("await=10", None),
        ("wait=1.5", None),
        ("wait=٣", None),
    ],
)
def test_prefer_header_is_parsed(prefer: str, seconds: int | None) -> None:
    request = Request({"type": "http", "headers": [(b"prefer", prefer.encode())]})
    assert wait_seconds(request, 60) == seconds


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("cat.jpg", "cat.jpg"),
        ("../../etc/passwd", "../../etc/passwd"),
        ("a\x00b\nc", "a\ufffdb\ufffdc"),
        ("猫 🐈.png", "猫 🐈.png"),
        ("x" * 300, "x" * 255),
        ("", "unnamed"),
        (None, "unnamed"),
    ],
)
def test_file_name_is_kept_except_for_unstorable_characters(sent: str | None, shown: str) -> None:
    assert display_filename(sent) == shown


@pytest.mark.parametrize(
    ("order", "position"),
    [
        *((NEWEST, (last_id,)) for last_id in (1, 255, 2**63 - 1)),
        *((LEAST_CERTAIN, (confidence, 7)) for confidence in (0.0, 0.1 + 0.2, 1.0)),
        (NEWEST_BY_TIME, (datetime(2026, 11, 27, 23, 59, 59, 999_999, UTC), 7)),
        (OLDEST_BY_TIME, (datetime(1905, 1, 1, tzinfo=UTC), 7)),
    ],
)
def test_cursor_round_trips(order: Order, position: Position) -> None:
    assert decode_cursor(encode_cursor(position), order) == position


@pytest.mark.parametrize("order", [NEWEST, LEAST_CERTAIN, NEWEST_BY_TIME])
@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "!" * 11, "_" * 11, "_" * 22, "é", "A" * 500])
def test_forged_cursor_is_rejected(cursor: str, order: Order) -> None:
    with pytest.raises(RequestValidationError):
        decode_cursor(cursor, order)


def test_cursor_of_another_order_is_rejected() -> None:
    with pytest.raises(RequestValidationError):
        decode_cursor(encode_cursor((7,)), LEAST_CERTAIN)


def test_missing_cursor_is_the_first_page() -> None:
    assert decode_cursor(None) is None
