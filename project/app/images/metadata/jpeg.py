"""JPEG files (ITU-T T.81, annex B; JFIF; application segments: CIPA DC-008 and ICC.1)."""

import re
import struct
from typing import Final

from app.images import exif
from app.images.jpeg import MAX_SEGMENTS, MIN_SEGMENT, SIGNATURE
from app.images.jpeg import orientation as read_jpeg_orientation

_START: Final = SIGNATURE[:2]
_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Start of a segment after a scan or stray bytes: within a scan, 0xFF is followed by zero or a restart number."""
_SCAN: Final = 0xDA
_END: Final = 0xD9
_APPLICATION: Final = range(0xE0, 0xF0)
_COMMENT: Final = 0xFE
_JFIF: Final = 0xE0
_ADOBE: Final = 0xEE
_KEPT: Final = {_JFIF: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", _ADOBE: b"Adobe"}
"""Application segments that define colours, by marker and prefix."""


def strip_metadata(data: bytes) -> bytes:
    """Frame, tables, scans, colours and orientation; nothing after the image."""
    pieces = [_START]
    orientation = read_jpeg_orientation(data)
    position = len(_START)
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None:
            return b"".join(pieces)
        begin, marker = found.start(), data[found.end() - 1]
        if marker == _END:
            pieces.append(data[begin : found.end()])
            return b"".join(pieces)
        length = int.from_bytes(data[begin + 2 : begin + 4], "big")
        position = begin + 2 + max(length, MIN_SEGMENT)
        if marker == _SCAN:
            following = _MARKER.search(data, position)
            position = following.start() if following else len(data)
        if not _is_metadata(marker, data[begin + 4 : begin + 16]):
            if orientation != exif.UPRIGHT and marker != _JFIF:
                pieces.append(_oriented(orientation))
                orientation = exif.UPRIGHT
            pieces.append(_cut(marker, data[begin:position]))
    raise ValueError(f"the JPEG has more than {MAX_SEGMENTS} segments")


def _cut(marker: int, segment: bytes) -> bytes:
    """A segment without trailing data: JFIF's may contain a thumbnail, and Adobe's anything."""
    if marker == _JFIF:
        return segment[:2] + struct.pack(">H", 16) + segment[4:16].ljust(12, b"\0") + b"\0\0"
    if marker == _ADOBE:
        return segment[:2] + struct.pack(">H", 14) + segment[4:16].ljust(12, b"\0")
    return segment


def _is_metadata(marker: int, beginning: bytes) -> bool:
    if marker in _APPLICATION:
        kept = _KEPT.get(marker)
        return kept is None or not beginning.startswith(kept)
    return marker == _COMMENT


def _oriented(orientation: int) -> bytes:
    contents = exif.SIGNATURE + exif.write_orientation(orientation)
    return b"\xff\xe1" + struct.pack(">H", 2 + len(contents)) + contents
