"""EXIF blocks with nothing but the orientation (CIPA DC-008, 4.6)."""

import struct
from typing import Final

SIGNATURE: Final = b"Exif\0\0"
EMPTY: Final = struct.pack(">2sHLHL", b"MM", 42, 8, 0, 0)
"""A TIFF directory without entries."""
_ORIENTATION: Final = (0x0112, 3, 1)
"""Tag, type (a short integer) and count."""


def of_orientation(orientation: int) -> bytes:
    """A TIFF directory with one entry, without a signature. ``orientation``: 1..8."""
    return struct.pack(">2sHLHHHLHHL", b"MM", 42, 8, 1, *_ORIENTATION, orientation, 0, 0)
