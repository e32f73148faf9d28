"""PNG files, including animated ones (W3C, PNG, third edition: chunks)."""

import struct
import zlib
from typing import Final

from app.images import exif

MAX_CHUNKS: Final = 100_000
_SIGNATURE_BYTES: Final = 8
_HEAD_BYTES: Final = 8
"""Header of a chunk: its length and its type."""
_CRC_BYTES: Final = 4
_KEPT: Final = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD pHYs acTL fcTL fdAT".split()
)


def strip_metadata(data: bytes) -> bytes:
    """The chunks that affect how the image looks, up to its end."""
    pieces = [data[:_SIGNATURE_BYTES]]
    position = _SIGNATURE_BYTES
    for _ in range(MAX_CHUNKS):
        head = data[position : position + _HEAD_BYTES]
        if len(head) < _HEAD_BYTES:
            return b"".join(pieces)
        length, kind = struct.unpack(">L4s", head)
        end = position + _HEAD_BYTES + length + _CRC_BYTES
        if kind in _KEPT:
            pieces.append(data[position:end])
        elif (
            kind == b"eXIf"
            and (orientation := exif.read_orientation(data[position + _HEAD_BYTES : end - _CRC_BYTES])) != exif.UPRIGHT
        ):
            pieces.append(_chunk(kind, exif.write_orientation(orientation)))
        if kind == b"IEND":
            return b"".join(pieces)
        position = end
    raise ValueError(f"the PNG has more than {MAX_CHUNKS} chunks")


def _chunk(kind: bytes, contents: bytes) -> bytes:
    return struct.pack(">L", len(contents)) + kind + contents + struct.pack(">L", zlib.crc32(kind + contents))
