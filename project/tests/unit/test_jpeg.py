import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.domain import ImageTooLarge, ImageUnreadable, NotAnImage
from app.images import jpeg
from app.images.inspection import inspect
from app.images.preprocessing import to_tensor
from tests import pictures
from tests.pictures import encoded, jpeg_with, scene, turned

PLENTY = 10**9
END = b"\xff\xd9"
SCAN = b"\xff\xda"


def noise_as_jpeg(**options: Any) -> bytes:
    """A JPEG without uniform areas."""
    pixels = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG", **options)


def as_tiff(data: bytes, width: int, height: int, more_strips: int = 0) -> bytes:
    """A TIFF whose only strip is a JPEG; ``more_strips``: entries of its table that no reader needs."""
    data += b"\0" * (len(data) % 2)
    count = 1 + more_strips
    offsets, sizes = [8] * count, [len(data), *[2] * more_strips]
    table = struct.pack(f"<{2 * count}L", *offsets, *sizes) if more_strips else b""
    places = (8 + len(data), 8 + len(data) + 4 * count) if more_strips else (8, len(data))
    tags = [(256, 1, width), (257, 1, height), (258, 1, 8), (259, 1, 7), (262, 1, 6), (273, count, places[0])]
    tags += [(277, 1, 3), (278, 1, height), (279, count, places[1])]
    fields = b"".join(struct.pack("<HHLL", tag, 4, number, value) for tag, number, value in tags)
    header = struct.pack("<2sHL", b"II", 42, 8 + len(data) + len(table))
    return header + data + table + struct.pack("<H", len(tags)) + fields + bytes(4)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("end", [b"", END], ids=["broken off", "given an end marker"])
def test_incomplete_file_is_unreadable(end: bytes, *, progressive: bool) -> None:
    data = noise_as_jpeg(progressive=progressive)
    with pytest.raises(ImageUnreadable):
        to_tensor(data[: len(data) // 2] + end)


def test_missing_end_marker_is_accepted() -> None:
    data = pictures.jpeg()
    assert data.endswith(END)
    np.testing.assert_array_equal(to_tensor(data[:-2]), to_tensor(data))


@pytest.mark.parametrize("stray", [b"\x12\x34", b"\0" * 64])
def test_stray_bytes_are_accepted(stray: bytes) -> None:
    data = pictures.jpeg()
    expected = to_tensor(data)
    np.testing.assert_array_equal(to_tensor(data[:-2] + stray + data[-2:]), expected)
    np.testing.assert_array_equal(to_tensor(data + stray), expected)


@pytest.mark.parametrize(("needed", "decoded"), [(256, 376), (375, 376), (376, 751), (751, 1501), (1501, 3001)])
def test_large_image_is_decoded_at_a_reduced_size_that_is_large_enough(needed: int, decoded: int) -> None:
    assert jpeg.decode(encoded(scene(4001, 3001), "JPEG"), needed).shape[0] == decoded


@pytest.mark.parametrize(
    "data",
    [jpeg_with(b"\xff\xe1", b"Exif\0\0" + bytes(54), 100_000), jpeg_with(b"\xff\xfe", b"", 1_000_000)],
    ids=["EXIF blocks", "comments"],
)
def test_countless_blocks_are_read_quickly(data: bytes) -> None:
    """Each of these kept Pillow busy for minutes."""
    assert inspect(data, PLENTY).width == 400
    np.testing.assert_array_equal(to_tensor(data), to_tensor(pictures.jpeg()))


def test_bytes_after_an_image_are_ignored() -> None:
    """Phones append videos; about 16 pairs of bytes per megabyte look like the start of a scan."""
    film = np.random.default_rng(1).bytes(12_000_000)
    kinds: list[dict[str, Any]] = [{}, {"progressive": True}, {"restart_marker_rows": 1}]
    for image in (encoded(scene(), "JPEG", **kind) for kind in kinds):
        assert inspect(image + film, PLENTY).width == 400
        assert np.array_equal(to_tensor(image + film), to_tensor(image))


def test_end_marker_within_a_comment_does_not_hide_scans() -> None:
    data = encoded(scene(), "JPEG", progressive=True)
    last = data[data.rindex(SCAN) : -len(END)]
    comment = b"\xff\xfe\x00\x04" + END
    with pytest.raises(NotAnImage):
        inspect(data[: -len(END)] + comment + last * jpeg.MAX_SCANS + END, PLENTY)
    with pytest.raises(NotAnImage):
        inspect(data[: -len(END)] + b"stray" + last * jpeg.MAX_SCANS + END, PLENTY)


def test_countless_scans_are_rejected() -> None:
    data = noise_as_jpeg(progressive=True)
    last = data[data.rindex(SCAN) : -len(END)]
    with pytest.raises(NotAnImage):
        inspect(data[: -len(END)] + last * jpeg.MAX_SCANS + END, PLENTY)
    assert inspect(data[: -len(END)] + last + END, PLENTY).width == 400


def test_scans_are_limited_by_the_size_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty scans of a small image cost nothing; those of a large one cost seconds each time it is decoded."""
    monkeypatch.setattr(jpeg, "MAX_SCANNED_PIXELS", 10**7)

    def scanned(width: int, height: int, scans: int) -> bytes:
        data = encoded(Image.new("RGB", (width, height), "teal"), "JPEG", progressive=True)
        last = data[data.rindex(SCAN) : -len(END)]
        return data[: -len(END)] + last * (scans - data.count(SCAN)) + END

    side = 450
    most = jpeg.MAX_SCANNED_PIXELS // side**2
    for made in (scanned, lambda *size: as_tiff(scanned(*size), *size[:2])):
        assert inspect(made(side, side, most), PLENTY).width == side
        with pytest.raises(ImageTooLarge, match=rf"{side} x {side} pixels in {most + 1} scans"):
            inspect(made(side, side, most + 1), PLENTY)
        assert inspect(made(440, 440, most + 1), PLENTY).width == 440
    # Entries of the table beyond the image's own strips are not read.
    padded = as_tiff(scanned(side, side, most + 1), side, side, more_strips=40)
    with pytest.raises(ImageTooLarge):
        inspect(padded, PLENTY)
    # One scan may have as many pixels as the setting allows.
    assert inspect(encoded(Image.new("L", (4_000, 3_000)), "JPEG"), PLENTY).width == 4_000


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_broken_exif_is_ignored(exif: bytes) -> None:
    assert inspect(jpeg_with(b"\xff\xe1", exif, 1), PLENTY).width == 400


def test_first_exif_block_is_used() -> None:
    first = b"\xff\xe1", b"Exif\0\0" + turned(6).tobytes()[6:], 1
    assert inspect(jpeg_with(*first), PLENTY).width == 300
