"""Cheap limits on the structure of files, checked before a library parses them: real images are far below."""

import struct
from typing import Final

MAX_ITEMS: Final = 1_000
"""Items, extents, references, properties and associations of a HEIC or AVIF file: large photos have about 100."""
MAX_TAGS: Final = 1_000
MAX_TAG_BYTES: Final = 2 * 2**20
"""Bytes of a TIFF tag of numbers, which a reader turns into objects; the offsets of 250,000 strips fit."""
_BYTE_KINDS: Final = frozenset((1, 2, 6, 7))
"""TIFF types that readers keep as bytes."""
_UNIT_BYTES: Final = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_MAX_DEPTH: Final = 4
_CONTAINERS: Final = frozenset(
    (b"meta", b"iprp", b"ipco", b"iinf", b"iref", b"moov", b"trak", b"mdia", b"minf", b"stbl")
)
_FULL_BOXES: Final = {b"meta": 4, b"iref": 4}
"""Containers with version and flags before their contents, and the size of these."""


def check_structure(data: bytes) -> None:
    """Raises ValueError if a HEIC, AVIF or TIFF file has more parts than any real image."""
    if data[4:8] == b"ftyp":
        _check_boxes(data, 0, len(data), 0)
    elif data[:4] in {b"II*\0", b"MM\0*"}:
        _check_directory(data, "<" if data[:1] == b"I" else ">", is_big=False)
    elif data[:4] in {b"II+\0", b"MM\0+"}:
        _check_directory(data, "<" if data[:1] == b"I" else ">", is_big=True)


def _check_boxes(data: bytes, begin: int, end: int, depth: int) -> None:
    count = 0
    while begin + 8 <= end:
        count += 1
        if count > MAX_ITEMS:
            raise ValueError(f"a box has more than {MAX_ITEMS} parts")
        size, kind = struct.unpack_from(">L4s", data, begin)
        head = 8
        if size == 1 and begin + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, begin + 8)
            head = 16
        stop = min(end if size == 0 else begin + size, end)
        if stop < begin + head:
            return
        if kind in {b"iloc", b"ipma"}:
            _check_entries(data, kind, begin + head, stop)
        if kind in _CONTAINERS and depth < _MAX_DEPTH:
            inner = begin + head + _FULL_BOXES.get(kind, 0)
            if kind == b"iinf" and begin + head < stop:
                inner += 8 if data[begin + head] else 6
            _check_boxes(data, inner, stop, depth + 1)
        begin = stop


def _check_entries(data: bytes, kind: bytes, begin: int, end: int) -> None:
    """The declared number of entries of ``iloc`` and ``ipma`` (ISO/IEC 14496-12, 8.11.3 and 23008-12, 9.3)."""
    if begin + 12 > end:
        return
    version = data[begin]
    if kind == b"ipma":
        (count,) = struct.unpack_from(">L", data, begin + 4)
    elif version == 2:  # noqa: PLR2004 - the version with 32-bit counts
        (count,) = struct.unpack_from(">L", data, begin + 6)
    else:
        (count,) = struct.unpack_from(">H", data, begin + 6)
    if count > MAX_ITEMS:
        raise ValueError(f"the box {kind.decode()} has {count} entries")


def _check_directory(data: bytes, order: str, *, is_big: bool) -> None:
    try:
        (directory,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}L", data, 8 if is_big else 4)
        (count,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}H", data, directory)
        if count > MAX_TAGS:
            raise ValueError(f"the TIFF has more than {MAX_TAGS} tags")
        form, offset, step = (f"{order}HHQ", f"{order}Q", 20) if is_big else (f"{order}HHL", f"{order}L", 12)
        begin = directory + (8 if is_big else 2)
        for position in range(begin, begin + count * step, step):
            _, kind, length = struct.unpack_from(form, data, position)
            size = length * _UNIT_BYTES.get(kind, 8)
            (place,) = struct.unpack_from(offset, data, position + step - struct.calcsize(offset))
            # Readers ignore values outside of the file.
            if kind not in _BYTE_KINDS and size > MAX_TAG_BYTES and place + size <= len(data):
                raise ValueError("a tag of the TIFF has too many values")
    except (struct.error, OverflowError) as error:
        raise ValueError("the TIFF is truncated") from error
