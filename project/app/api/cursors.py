"""Cursors of pages: opaque to clients, the last id that they have seen to us."""

import base64
import binascii
from typing import Final

from fastapi.exceptions import RequestValidationError

from app.domain import MAX_ID

CURSOR_BYTES: Final = 8


def encode_cursor(last_id: int) -> str:
    """The cursor of the page that follows an id."""
    return base64.urlsafe_b64encode(last_id.to_bytes(CURSOR_BYTES, "big")).rstrip(b"=").decode()


def decode_cursor(cursor: str | None) -> int | None:
    """The id that a page follows; None for the first page. Raises RequestValidationError for anything else."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    last_id = int.from_bytes(raw, "big")
    if len(raw) != CURSOR_BYTES or last_id > MAX_ID:
        told = "Cursor should be one from a Link header of this service"
        raise RequestValidationError(
            [{"type": "cursor_invalid", "loc": ("query", "cursor"), "msg": told, "input": cursor}]
        )
    return last_id
