"""Pagination cursors: opaque to clients, the last ID of the previous page to us."""

import base64
import binascii
from typing import Final

from fastapi.exceptions import RequestValidationError

from app.domain import MAX_ID

CURSOR_BYTES: Final = 8


def encode_cursor(last_id: int) -> str:
    """The cursor of the page that follows an ID."""
    return base64.urlsafe_b64encode(last_id.to_bytes(CURSOR_BYTES, "big")).rstrip(b"=").decode()


def decode_cursor(cursor: str | None) -> int | None:
    """The ID before a page; None for the first page. Raises RequestValidationError for an invalid cursor."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    last_id = int.from_bytes(raw, "big")
    if len(raw) != CURSOR_BYTES or last_id > MAX_ID:
        told = "Use a cursor from the Link header of a previous page"
        raise RequestValidationError(
            [{"type": "cursor_invalid", "loc": ("query", "cursor"), "msg": told, "input": cursor}]
        )
    return last_id
