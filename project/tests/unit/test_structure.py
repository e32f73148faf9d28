"""Files with more parts than any real image are refused before a library parses them."""

import struct

import pytest

from app.domain import NotAnImage
from app.images.inspection import inspect
from app.images.structure import MAX_ITEMS, MAX_TAG_BYTES, check_structure
from tests.pictures import encoded, scene
from tests.structures import avif, box, entries, items, tiff

LARGEST = MAX_TAG_BYTES
HOSTILE = {
    "items": avif(items(MAX_ITEMS + 1)),
    "items, nested": avif(box(b"iprp", box(b"ipco", box(b"ispe", bytes(12)) * (MAX_ITEMS + 1)))),
    "references": avif(box(b"iref", bytes(4) + box(b"thmb", bytes(6)) * (MAX_ITEMS + 1))),
    "locations": avif(entries(b"iloc", MAX_ITEMS + 1)),
    "associations": avif(entries(b"ipma", MAX_ITEMS + 1)),
    "boxes": box(b"ftyp", b"avif\0\0\0\0") + box(b"free", b"") * (MAX_ITEMS + 1),
    "rationals": tiff("<", 5, LARGEST // 8 + 1, LARGEST + 8),
    "rationals, big-endian": tiff(">", 5, LARGEST // 8 + 1, LARGEST + 8),
    "shorts": tiff("<", 3, LARGEST // 2 + 1, LARGEST + 2),
    "unknown type": tiff("<", 99, LARGEST, 8 * LARGEST),
    "BigTIFF": tiff("<", 5, LARGEST // 8 + 1, LARGEST + 8, big=True),
    "no directory": b"II*\0" + struct.pack("<L", 10_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_file_with_too_many_parts_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"more than|entries|too many values|truncated"):
        check_structure(HOSTILE[name])
    with pytest.raises(NotAnImage):
        inspect(HOSTILE[name], 10**9)


@pytest.mark.parametrize("kind", ["AVIF", "HEIF", "TIFF", "PNG", "WEBP", "GIF", "BMP"])
def test_real_image_is_accepted(kind: str) -> None:
    data = encoded(scene(300, 200), kind)
    check_structure(data)
    assert inspect(data, 10**9).width == 300


def test_limits_themselves_are_accepted() -> None:
    check_structure(avif(items(MAX_ITEMS), entries(b"iloc", MAX_ITEMS), entries(b"ipma", MAX_ITEMS)))
    check_structure(tiff("<", 5, LARGEST // 8, LARGEST))
    check_structure(tiff("<", 7, 10 * LARGEST, 10 * LARGEST))
    for size in range(40):
        check_structure(avif(items(1))[:size])
