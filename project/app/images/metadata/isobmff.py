"""HEIC and AVIF files (ISO/IEC 14496-12: boxes; 23008-12: items).

Items are addressed by their position in the file, so metadata is overwritten and nothing is moved.
"""

import struct
from collections.abc import Iterator
from typing import Final

from app.images import exif
from app.images.boxes import FULL_HEAD_BYTES, boxes

MAX_EXTENTS: Final = 10_000
_KEPT: Final = frozenset((b"ftyp", b"mdat", b"idat"))
_PRIVATE_BOXES: Final = frozenset((b"udta", b"uuid", b"meta"))
_METADATA: Final = (b"Exif", b"mime")
_EMPTY: Final = bytes(4) + exif.EMPTY
_ITEM: Final = {2: ">HH4s", 3: ">LH4s"}
"""An item's number, protection and type, by version of its box; older versions have no type."""
_ITEM_BYTES: Final = {2: 4}
"""Size of an item number in ``iloc``, by version."""


def strip_metadata(data: bytes) -> bytes:
    """The file with EXIF items, XMP items and unknown boxes overwritten.

    The orientation is an image property and stays.

    Raises ValueError if it has more boxes or extents than any real image.
    """
    blanked = bytearray(data)
    is_followed, followed = False, 0
    for kind, begin, end in boxes(data, 0, len(data)):
        # Files have one meta box (14496-12, 8.11.1); following several would multiply the cost of hostile files.
        if kind == b"meta" and not is_followed:
            is_followed = True
            _blank_items(data, begin + FULL_HEAD_BYTES, end, blanked)
        elif kind == b"moov":
            _blank_movie(data, begin, end, blanked)
        elif kind not in _KEPT:
            _blank(blanked, begin, end)
        followed = end
    # Data outside any box.
    _blank(blanked, followed, len(data))
    return bytes(blanked)


def _blank(blanked: bytearray, begin: int, end: int, contents: bytes = b"") -> None:
    length = max(0, min(end, len(blanked)) - begin)
    blanked[begin : begin + length] = contents[:length].ljust(length, b"\0")


def _blank_movie(data: bytes, begin: int, end: int, blanked: bytearray) -> None:
    for kind, inner, stop in boxes(data, begin, end):
        if kind in _PRIVATE_BOXES:
            _blank(blanked, inner, stop)
        elif kind == b"trak":
            for track_kind, first, last in boxes(data, inner, stop):
                if track_kind in _PRIVATE_BOXES:
                    _blank(blanked, first, last)


def _blank_items(data: bytes, begin: int, end: int, blanked: bytearray) -> None:
    found = {kind: (inner, stop) for kind, inner, stop in boxes(data, begin, end)}
    try:
        kinds = dict(_item_kinds(data, *found.get(b"iinf", (0, 0))))
        stored = found.get(b"idat", (0, 0))[0]
        left = 2 * len(data)
        for item, within, offset, length in _extents(data, *found.get(b"iloc", (0, 0))):
            if kinds.get(item) in _METADATA:
                place = stored + offset if within else offset
                stop = min(place + length, len(data)) if length else len(data)
                left -= max(0, stop - place)
                if left < 0:
                    raise ValueError("the file's metadata lies over itself")
                _blank(blanked, place, stop, _EMPTY if kinds[item] == b"Exif" else b"")
    except (struct.error, IndexError):
        # The lists are truncated: no reader finds such an item.
        return


def _item_kinds(data: bytes, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Number and type of each item (``iinf``)."""
    if begin == end:
        return
    wide = data[begin] > 0
    for kind, inner, _ in boxes(data, begin + FULL_HEAD_BYTES + (4 if wide else 2), end):
        version = data[inner]
        if kind == b"infe" and version in _ITEM:
            number, _protection, what = struct.unpack_from(_ITEM[version], data, inner + FULL_HEAD_BYTES)
            yield number, what


def _extents(data: bytes, begin: int, end: int) -> Iterator[tuple[int, bool, int, int]]:
    """For each extent of an item: the item, whether it is in ``idat``, its offset and its length (``iloc``)."""
    if begin == end:
        return
    version = data[begin]
    sizes = struct.unpack_from(">BB", data, begin + FULL_HEAD_BYTES)
    offset_bytes, length_bytes = sizes[0] >> 4, sizes[0] & 15
    base_bytes, index_bytes = sizes[1] >> 4, sizes[1] & 15 if version else 0
    reader = _Reader(data, begin + FULL_HEAD_BYTES + 2, end)
    left = MAX_EXTENTS
    item_bytes = _ITEM_BYTES.get(version, 2)
    for _ in range(reader.number(item_bytes)):
        item = reader.number(item_bytes)
        within = bool(version and reader.number(2) & 15)
        reader.number(2)
        base = reader.number(base_bytes)
        for _ in range(reader.number(2)):
            left -= 1
            if left < 0:
                raise ValueError(f"the file has more than {MAX_EXTENTS} pieces")
            reader.number(index_bytes)
            yield item, within, base + reader.number(offset_bytes), reader.number(length_bytes)


class _Reader:
    """Reads big-endian numbers. Raises struct.error at the end."""

    def __init__(self, data: bytes, begin: int, end: int) -> None:
        self._data = data
        self._position = begin
        self._end = end

    def number(self, size: int) -> int:
        begin, self._position = self._position, self._position + size
        if self._position > self._end:
            raise struct.error("the box ends before its contents do")
        return int.from_bytes(self._data[begin : self._position], "big")
