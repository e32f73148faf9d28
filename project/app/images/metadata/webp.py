"""WebP files (RFC 9649: RIFF chunks)."""

import struct
from collections.abc import Iterator
from typing import Final

from app.images import exif

MAX_CHUNKS: Final = 100_000
_FILE_HEAD_BYTES: Final = 12
_HEAD_BYTES: Final = 8
"""Header of a chunk: its type and its length."""
_FRAME_HEAD_BYTES: Final = 16
MAX_CHUNKS_PER_FRAME: Final = 16
_MAX_RIFF_SIZE: Final = 2**32 - 1
_KEPT: Final = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ICCP"))
_HAS_EXIF: Final = 0x08
_HAS_XMP: Final = 0x04


def strip_metadata(data: bytes) -> bytes:
    """The chunks that affect how the image looks."""
    length = int.from_bytes(data[4:8], "little")
    # Data after the file's declared end is not part of it.
    data = data[: 8 + max(length, _FILE_HEAD_BYTES)]
    pieces: list[bytes] = []
    orientation = exif.UPRIGHT
    beyond = 0
    for kind, begin, end in _chunks(data, _FILE_HEAD_BYTES, MAX_CHUNKS):
        if kind == b"ANMF":
            pieces.append(_frame(data[begin:end]))
        elif kind in _KEPT:
            pieces.append(data[begin:end])
            beyond = max(0, end - len(data))
        elif kind == b"EXIF":
            orientation = exif.read_orientation(data[begin + _HEAD_BYTES : end])
    if pieces and pieces[0].startswith(b"VP8X") and len(pieces[0]) > _HEAD_BYTES:
        flags = pieces[0][_HEAD_BYTES] & ~(_HAS_EXIF | _HAS_XMP) | (_HAS_EXIF if orientation != exif.UPRIGHT else 0)
        pieces[0] = pieces[0][:_HEAD_BYTES] + bytes([flags]) + pieces[0][_HEAD_BYTES + 1 :]
        if orientation != exif.UPRIGHT:
            oriented = exif.write_orientation(orientation)
            pieces.append(struct.pack("<4sL", b"EXIF", len(oriented)) + oriented)
    body = b"WEBP" + b"".join(pieces)
    # A truncated file stays truncated.
    return struct.pack("<4sL", b"RIFF", min(len(body) + beyond, _MAX_RIFF_SIZE)) + body


def _frame(chunk: bytes) -> bytes:
    """A frame of an animation with only its image chunks."""
    pieces = [chunk[_HEAD_BYTES : _HEAD_BYTES + _FRAME_HEAD_BYTES]]
    inner = _chunks(chunk, _HEAD_BYTES + _FRAME_HEAD_BYTES, MAX_CHUNKS_PER_FRAME)
    pieces += [chunk[begin:end] for kind, begin, end in inner if kind in _KEPT]
    contents = b"".join(pieces)
    return struct.pack("<4sL", b"ANMF", len(contents)) + contents + b"\0" * (len(contents) % 2)


def _chunks(data: bytes, position: int, max_chunks: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of each chunk; the end may be beyond the data's. Raises ValueError above ``max_chunks``."""
    for _ in range(max_chunks):
        head = data[position : position + _HEAD_BYTES]
        if len(head) < _HEAD_BYTES:
            return
        kind, length = struct.unpack("<4sL", head)
        end = position + _HEAD_BYTES + length + length % 2
        yield kind, position, end
        position = end
    raise ValueError(f"the WebP file has more than {max_chunks} chunks")
