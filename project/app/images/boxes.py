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
