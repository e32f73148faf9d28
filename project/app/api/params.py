"""Parameters that several routes share: IDs, times, cursors, Prefer, Idempotency-Key, Accept."""

import base64
import binascii
import re
import struct
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.db.crud.idempotency import MAX_KEY_LENGTH
from app.db.crud.search import NEWEST, Order, Position
from app.domain import MAX_MODEL_NAME, MODEL_NAME

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_TIME: Final = datetime(1900, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
LAST_TIME: Final = datetime(2200, 1, 1, tzinfo=UTC)

PREFER: Final[dict[str, Any]] = {
    "name": "prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "title": "Prefer"},
    "description": "`wait=N`: respond once the prediction is finished or after N seconds.",
}
IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": "idempotency-key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "title": "Idempotency-Key", "maxLength": MAX_KEY_LENGTH},
    "description": "Any unique text, a new one for each image. A repeated upload with the same key is not "
    "stored again but gets the first response. Keys are kept for 24 hours.",
}


def _digits_only(value: object) -> object:
    """Rejects ``1.0``, ``+1`` and ``1_0``, which pydantic accepts as integers."""
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]+", value):
        raise PydanticCustomError("int_parsing", "Input should be a valid integer")
    return value


Id = Annotated[
    int,
    BeforeValidator(_digits_only),
    Path(gt=0, description="ID of the prediction."),
    # With a validator before it, pydantic writes the bound in a way that is not JSON Schema.
    WithJsonSchema({"type": "integer", "exclusiveMinimum": 0}),
]


CustomModelName = Annotated[
    str, Path(max_length=MAX_MODEL_NAME, pattern=MODEL_NAME, description="Name of a custom model.")
]


def _utc(time: datetime) -> datetime:
    """The time in UTC, which is meant if there is no time zone."""
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    if not FIRST_TIME <= time <= LAST_TIME:
        raise PydanticCustomError(
            "datetime_out_of_range", f"Input should be a time from {FIRST_TIME.year} to {LAST_TIME.year}"
        )
    return time.astimezone(UTC)


Time = Annotated[datetime, AfterValidator(_utc)]


def encode_cursor(last: Position) -> str:
    """The cursor of the page that follows a position; opaque to clients."""
    values = ((value - EPOCH) // MICROSECOND if isinstance(value, datetime) else value for value in last)
    raw = b"".join(struct.pack(">d" if isinstance(value, float) else ">q", value) for value in values)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_cursor(cursor: str | None, order: Order = NEWEST) -> Position | None:
    """The position that a page follows; None for the first page.

    Raises RequestValidationError for an invalid cursor, and for one of another order.
    """
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        formats = ("d" if column == "confidence" else "q" for column in order.columns)
        *others, last_id = struct.unpack(f">{''.join(formats)}", raw)
        position = (*(EPOCH + one * MICROSECOND if isinstance(one, int) else one for one in others), last_id)
    except (ValueError, binascii.Error, struct.error, OverflowError):
        last_id = -1
    if last_id < 0:
        message = "Use a cursor from the Link header of a previous page"
        raise RequestValidationError(
            [{"type": "cursor_invalid", "loc": ("query", "cursor"), "msg": message, "input": cursor}]
        )
    return position


_WAIT: Final = re.compile(
    r'(?:^|,)\s*wait\s*(?:=\s*(?:"?0*(?P<seconds>\d{1,9})\d*"?|(?:"")?)\s*)?(?:[,;]|$)', re.ASCII | re.IGNORECASE
)
"""A preference without a value equals one with an empty value (RFC 7240, 2)."""


def wait_seconds(request: Request, max_seconds: int) -> int | None:
    """Seconds from ``Prefer: wait=N`` (RFC 7240, 4.3), at most ``max_seconds``, which also ``wait`` alone means."""
    # A header may have several lines (RFC 9110, 5.3).
    match = _WAIT.search(", ".join(request.headers.getlist("prefer")))
    if match is None:
        return None
    return max_seconds if match["seconds"] is None else min(int(match["seconds"]), max_seconds)


def idempotency_key(request: Request, max_length: int = MAX_KEY_LENGTH) -> str | None:
    """The ``Idempotency-Key`` header. Raises RequestValidationError if it is invalid."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    message = ""
    if len(keys) > 1:
        message = "Send only one key"
    elif not 0 < len(keys[0]) <= max_length:
        message = f"The key must have 1 to {max_length} characters"
    if message:
        location = ("header", "idempotency-key")
        raise RequestValidationError(
            [{"type": "idempotency_key_invalid", "loc": location, "msg": message, "input": keys[-1]}]
        )
    return keys[0]


def prefers_html(request: Request) -> bool:
    """Whether a client prefers HTML to JSON: browsers list HTML first, programs list neither."""
    accepted = request.headers.get("accept", "")
    html, json = accepted.find("text/html"), accepted.find("application/json")
    return html >= 0 and (json < 0 or html < json)
