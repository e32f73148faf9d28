"""EXIF orientation (CIPA DC-008, 4.6): reads it, and writes a block that contains nothing else."""

import struct
from typing import Final

SIGNATURE: Final = b"Exif\0\0"
EMPTY: Final = struct.pack(">2sHLHL", b"MM", 42, 8, 0, 0)
"""A TIFF directory without entries."""

UPRIGHT: Final = 1
ORIENTATIONS: Final = range(1, 9)
SWAPPED: Final = 5
"""From this orientation on, width and height are swapped."""

_ORIENTATION_TAG: Final = 0x0112
_INTEGERS: Final = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l"}
"""TIFF types of integers. It should be a SHORT, but some programs write others."""
_ORIENTATION_ENTRY: Final = (_ORIENTATION_TAG, 3, 1)
"""Tag, type (a short integer) and count."""


def read_orientation(exif: bytes) -> int:
    """The orientation in an EXIF block (CIPA DC-008, 4.6: a TIFF directory of 12-byte entries); 1 if there is none."""
    # Some programs write the signature into PNG's chunk, too, where Pillow adds another one.
    tiff = exif.removeprefix(SIGNATURE).removeprefix(SIGNATURE)
    order = ">" if tiff[:2] == b"MM" else "<"
    try:
        (directory,) = struct.unpack_from(f"{order}L", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(entries):
            place = directory + 2 + 12 * entry
            tag, kind, count = struct.unpack_from(f"{order}HHL", tiff, place)
            if tag == _ORIENTATION_TAG:
                if kind not in _INTEGERS or not count:
                    return UPRIGHT
                (value,) = struct.unpack_from(f"{order}{_INTEGERS[kind]}", tiff, place + 8)
                return value if value in ORIENTATIONS else UPRIGHT
    except struct.error:
        return UPRIGHT
    return UPRIGHT


def write_orientation(orientation: int) -> bytes:
    """A TIFF directory with one entry, without a signature. ``orientation``: 1..8."""
    return struct.pack(">2sHLHHHLHHL", b"MM", 42, 8, 1, *_ORIENTATION_ENTRY, orientation, 0, 0)
