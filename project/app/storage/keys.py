"""Keys of stored images, and the names of the storage's own files."""

import re
import uuid
from datetime import UTC, datetime
from typing import Final

OWNER: Final = ".owner"
"""Name of the owner mark."""
UNFINISHED: Final = ".part"
"""Suffix of a file being written; one may remain after a power failure."""
_KEY: Final = re.compile(r"\d{4}/\d{2}/\d{2}/[0-9a-f]{32}\.[a-z0-9]+(\.part)?")


def is_key(text: str) -> bool:
    """Whether a key has this service's format."""
    return _KEY.fullmatch(text) is not None


def new_key(extension: str) -> str:
    """A new, unique key."""
    return f"{datetime.now(UTC):%Y/%m/%d}/{uuid.uuid4().hex}.{extension}"
