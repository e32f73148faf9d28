"""TIFF and BigTIFF files (TIFF 6.0): rewrites the first image with the tags that affect how it looks."""

import struct
from typing import Final, NamedTuple

from app.images.metadata import jpeg

MAX_ENTRIES: Final = 1_000
MAX_STRIPS: Final = 200_000
_KEPT: Final = frozenset(
    (
        *range(254, 260),  # kind, width, height, bits, compression
        *(262, 266, 274, 277, 278, 282, 283, 284, 292, 293, 296, 301),  # colours, orientation, rows, resolution, fax
        *(317, 318, 319, 320, 322, 323, 332, 336, 338, 339, 340, 341, 347),  # predictor, colours, tiles, samples, JPEG
        *(529, 530, 531, 532, 34675),  # YCbCr, ICC profile
    )
)
_PLACES: Final = {273: 279, 324: 325}
"""Tags of the offsets of strips and tiles, and of their lengths."""
_UNIT_BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8}
_LONG: Final = 4
_INLINE_BYTES: Final = 4
"""Values up to this size are in the directory itself instead of an offset."""
_BIG: Final = 43
_COMPRESSION: Final = 259
_JPEG_OF_OLD: Final = 6
_JPEG: Final = 7
_NUMBERS: Final = {1: "B", 3: "H", 4: "L", 16: "Q"}


class _Entry(NamedTuple):
    tag: int
    kind: int
    length: int
    """Number of values, or of characters."""
    value: bytes


def strip_metadata(data: bytes) -> bytes:
    """The first image. Raises ValueError if its strips overlap or cannot be found."""
    order = ">" if data[:2] == b"MM" else "<"
    try:
        entries = {entry.tag: entry for entry in _entries(data, order)}
        places = next((tag for tag in _PLACES if tag in entries), None)
        if places is None:
            raise ValueError("the TIFF has no offsets of its pixels")
        compression = _numbers(order, entries[_COMPRESSION]) if _COMPRESSION in entries else ()
        if compression == (_JPEG_OF_OLD,):
            # Its tables are addressed by their positions in the file.
            raise ValueError("the TIFF contains an old-style JPEG")
        lengths = _PLACES[places]
        strips = _strips(data, order, entries[places], entries.get(lengths))
        if compression == (_JPEG,):
            strips = [jpeg.strip_metadata(strip) for strip in strips]
        kept = [entry for tag, entry in sorted(entries.items()) if tag in _KEPT]
        return _written(order, kept, places, lengths, strips)
    except (struct.error, OverflowError) as error:
        raise ValueError("the TIFF is truncated") from error


def _entries(data: bytes, order: str) -> list[_Entry]:
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    big = version == _BIG
    (directory,) = struct.unpack_from(f"{order}Q" if big else f"{order}L", data, 8 if big else 4)
    (count,) = struct.unpack_from(f"{order}Q" if big else f"{order}H", data, directory)
    position = directory + (8 if big else 2)
    form, inline = (f"{order}HHQ", 8) if big else (f"{order}HHL", 4)
    head = struct.calcsize(form)
    if count > MAX_ENTRIES:
        raise ValueError(f"the TIFF has more than {MAX_ENTRIES} tags")
    found, left = [], len(data)
    for begin in range(position, position + count * (head + inline), head + inline):
        tag, kind, length = struct.unpack_from(form, data, begin)
        if kind not in _UNIT_BYTES:
            continue
        size = _UNIT_BYTES[kind] * length
        place = begin + head
        if size > inline:
            (place,) = struct.unpack_from(f"{order}Q" if big else f"{order}L", data, place)
        if tag in _KEPT or tag in _PLACES or tag in _PLACES.values():
            # Of duplicate tags the last counts, except for those outside the file.
            if place + size > len(data):
                continue
            left -= size
            if left < 0:
                raise ValueError("the values of the TIFF overlap")
            found.append(_Entry(tag, kind, length, data[place : place + size]))
    return found


def _strips(data: bytes, order: str, places: _Entry, lengths: _Entry | None) -> list[bytes]:
    begins = _numbers(order, places)
    # Without lengths, a single strip extends to the end.
    sizes = _numbers(order, lengths) if lengths else ()
    if len(begins) == 1 and not any(sizes):
        sizes = (len(data),)
    if len(sizes) < len(begins):
        raise ValueError("the TIFF has no lengths of its strips")
    strips = [(begin, min(begin + size, len(data))) for begin, size in zip(begins, sizes, strict=False)]
    if sum(max(0, end - begin) for begin, end in strips) > len(data):
        raise ValueError("the strips of the TIFF overlap")
    return [data[begin:end] for begin, end in strips]


def _numbers(order: str, entry: _Entry) -> tuple[int, ...]:
    if entry.kind not in _NUMBERS or entry.length > MAX_STRIPS:
        raise ValueError(f"tag {entry.tag} of the TIFF has no numbers or too many")
    return struct.unpack(f"{order}{entry.length}{_NUMBERS[entry.kind]}", entry.value)


def _written(order: str, kept: list[_Entry], places: int, lengths: int, strips: list[bytes]) -> bytes:
    """Header, strips, values, directory."""
    offsets, position = [], 8
    for strip in strips:
        offsets.append(position)
        position += len(strip)
    count = len(strips)
    whole = [
        *kept,
        _Entry(places, _LONG, count, struct.pack(f"{order}{count}L", *offsets)),
        _Entry(lengths, _LONG, count, struct.pack(f"{order}{count}L", *map(len, strips))),
    ]
    values, directory = [], [struct.pack(f"{order}H", len(whole))]
    for entry in sorted(whole):
        value = entry.value.ljust(_INLINE_BYTES, b"\0")
        if len(value) > _INLINE_BYTES:
            values.append(value + b"\0" * (-len(value) % 2))
            value = struct.pack(f"{order}L", position)
            position += len(values[-1])
        directory.append(struct.pack(f"{order}HHL", entry.tag, entry.kind, entry.length) + value)
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HL", 42, position)
    return b"".join([head, *strips, *values, *directory, bytes(4)])
