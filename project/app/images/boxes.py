"""The boxes of HEIC and AVIF files (ISO/IEC 14496-12, 4.2)."""

import struct
from collections.abc import Iterator, Sequence
from typing import Final

MAX_BOXES: Final = 10_000
FULL_HEAD_BYTES: Final = 4
"""Version and flags of some boxes."""


def boxes(data: bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the contents of each box between two positions.

    Raises ValueError if there are more than any real image has.
    """
    for _ in range(MAX_BOXES):
        if begin + 8 > end:
            return
        size, kind = struct.unpack_from(">L4s", data, begin)
        head = 8
        if size == 1 and begin + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, begin + 8)
            head = 16
        stop = end if size == 0 else begin + size
        if stop < begin + head:
            return
        yield kind, begin + head, min(stop, end)
        begin = stop
    raise ValueError(f"the file has more than {MAX_BOXES} boxes")


def find_boxes(data: bytes, path: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Start and end of the contents of the boxes at a path from the file's own, such as meta, iprp, ipco, colr."""

    def below(begin: int, end: int, kinds: Sequence[bytes]) -> Iterator[tuple[int, int]]:
        for kind, inner, stop in boxes(data, begin, end):
            if kind != kinds[0]:
                continue
            if len(kinds) == 1:
                yield inner, stop
            else:
                yield from below(inner + (FULL_HEAD_BYTES if kind == b"meta" else 0), stop, kinds[1:])

    return below(0, len(data), path)


def primary_properties(data: bytes, kind: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of the contents of the primary image's properties of a kind (ISO/IEC 23008-12, 9.3).

    Other images in the file, such as gain maps, have properties of their own.
    """
    associated = _associated(data)
    for container, stop in find_boxes(data, (b"meta", b"iprp", b"ipco")):
        for number, (found, begin, end) in enumerate(boxes(data, container, stop), 1):
            if found == kind and (associated is None or number in associated):
                yield begin, end


def _associated(data: bytes) -> set[int] | None:
    """Numbers of the primary image's properties; None if the file does not say."""
    try:
        (begin, _), *_ = find_boxes(data, (b"meta", b"pitm"))
        (primary,) = struct.unpack_from(">L" if data[begin] else ">H", data, begin + FULL_HEAD_BYTES)
        numbers: set[int] = set()
        for begin, end in find_boxes(data, (b"meta", b"iprp", b"ipma")):
            numbers.update(_associations(data[begin:end], primary))
    except (ValueError, IndexError, struct.error):
        return None
    return numbers or None


def _associations(contents: bytes, item: int) -> Iterator[int]:
    """Numbers of an item's properties in the contents of an ``ipma`` box."""
    is_long, is_wide = contents[0] > 0, contents[3] & 1
    (entries,) = struct.unpack_from(">L", contents, 4)
    position = 8
    for _ in range(min(entries, MAX_BOXES)):
        (current,) = struct.unpack_from(">L" if is_long else ">H", contents, position)
        position += 4 if is_long else 2
        count = contents[position]
        position += 1
        for _ in range(count):
            (number,) = struct.unpack_from(">H" if is_wide else ">B", contents, position)
            position += 2 if is_wide else 1
            if current == item:
                # The highest bit says whether readers must know the property.
                yield number & (0x7FFF if is_wide else 0x7F)
