"""Removal of metadata from image files."""

import contextlib
import random
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from app.domain import NotAnImage
from app.images import metadata
from app.images.formats import FORMATS
from app.images.inspection import inspect, strip_metadata
from app.images.preprocessing import to_tensor
from tests.corpus import corpus
from tests.pictures import ORIENTATION, encoded, jpeg, scene

SECRET = "Rosebud 7, upstairs"
GPS = 0x8825
ARTIST = 0x013B
MADE_BY = 0x0110
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_data(orientation: int = 6) -> Image.Exif:
    """EXIF data with a location and a name, in the image's directory and others."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[ARTIST], exif[MADE_BY] = orientation, SECRET, SECRET
    exif.get_ifd(GPS)[0x001D] = SECRET
    return exif


XMP = f"<x:xmpmeta>{SECRET}</x:xmpmeta>".encode()


def text() -> PngInfo:
    info = PngInfo()
    info.add_text("Comment", SECRET)
    info.add_text("Description", SECRET, zip=True)
    info.add_itxt("XML:com.adobe.xmp", SECRET)
    return info


def tiff_of(*entries: tuple[int, int, int, int], values: bytes = b"") -> bytes:
    """A TIFF with one directory after the data."""
    head = struct.pack("<2sHL", b"II", 42, 8 + len(values)) + values
    return head + struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHLL", *one) for one in entries) + bytes(4)


def gap_before_pixels(data: bytes) -> bytes:
    """A BMP with extra bytes between its header and its pixels."""
    (offset,) = struct.unpack_from("<L", data, 10)
    moved = struct.pack("<L", offset + len(SECRET))
    return data[:10] + moved + data[14:offset] + SECRET.encode() + data[offset:]


def with_thumbnail(data: bytes) -> bytes:
    """A JPEG with a different thumbnail of 2 x 4 pixels in its JFIF segment."""
    contents = data[6:18] + b"\2\4" + SECRET.encode().ljust(24)
    return data[:4] + struct.pack(">H", 2 + len(contents)) + contents + data[20:]


def jpeg_strip() -> bytes:
    """A TIFF whose only strip is a JPEG with a comment."""
    image = encoded(scene(64, 64), "JPEG", comment=SECRET, subsampling=0)
    entries = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 3, 8), (259, 3, 1, 7), (262, 3, 1, 6)]
    entries += [(273, 4, 1, 14), (277, 3, 1, 3), (278, 4, 1, 64), (279, 4, 1, len(image))]
    return tiff_of(*entries, values=struct.pack("<HHH", 8, 8, 8) + image)


FILES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded(scene(), "JPEG", exif=exif_data(), comment=SECRET, icc_profile=PROFILE),
    "jpeg-progressive": lambda: encoded(scene(), "JPEG", exif=exif_data(3), progressive=True, xmp=XMP),
    "jpeg-plain": lambda: encoded(scene(), "JPEG", exif=exif_data(1), comment=SECRET),
    "jpeg-grey": lambda: encoded(scene().convert("L"), "JPEG", exif=exif_data()),
    "jpeg-cmyk": lambda: encoded(scene().convert("CMYK"), "JPEG", exif=exif_data(8)),
    "jpeg-and-another": lambda: encoded(scene(), "MPO", save_all=True, append_images=[scene()], exif=exif_data()),
    "jpeg-with-a-thumbnail": lambda: with_thumbnail(jpeg()),
    "jpeg-with-fill-bytes": lambda: encoded(scene(), "JPEG", exif=exif_data()).replace(
        b"\xff\xe1", b"\xff\xff\xff\xe1", 1
    ),
    "jpeg-with-a-tail": lambda: jpeg() + SECRET.encode(),
    "png": lambda: encoded(scene(), "PNG", exif=exif_data(), pnginfo=text(), icc_profile=PROFILE),
    "png-palette": lambda: encoded(scene().quantize(16), "PNG", pnginfo=text(), transparency=0),
    "png-with-a-tail": lambda: encoded(scene(), "PNG") + SECRET.encode(),
    "webp": lambda: encoded(scene(), "WEBP", exif=exif_data(), xmp=XMP, icc_profile=PROFILE, lossless=True),
    "webp-simple": lambda: encoded(scene(), "WEBP", xmp=XMP),
    "webp-transparent": lambda: encoded(scene().convert("RGBA"), "WEBP", exif=exif_data()),
    "gif": lambda: encoded(scene(), "GIF", comment=SECRET),
    "gif-animated": lambda: encoded(
        scene(), "GIF", save_all=True, append_images=[scene().rotate(90)], comment=SECRET, loop=0
    ),
    "bmp": lambda: encoded(scene(), "BMP") + SECRET.encode(),
    "bmp-palette": lambda: encoded(scene().quantize(16), "BMP") + SECRET.encode(),
    "bmp-with-a-gap": lambda: gap_before_pixels(encoded(scene(), "BMP")),
    "tiff": lambda: encoded(scene(), "TIFF", exif=exif_data(), compression="tiff_lzw", icc_profile=PROFILE),
    "tiff-plain": lambda: encoded(scene(), "TIFF", exif=exif_data(1)),
    "tiff-strips": lambda: encoded(scene(), "TIFF", strip_size=4_000, software=SECRET, description=SECRET),
    "tiff-deflate-16": lambda: encoded(Image.new("I;16", (30, 20), 999), "TIFF", compression="tiff_adobe_deflate"),
    "tiff-jpeg": lambda: encoded(scene(), "TIFF", compression="jpeg", exif=exif_data()),
    "tiff-palette": lambda: encoded(scene().quantize(16), "TIFF", exif=exif_data()),
    "tiff-fax": lambda: encoded(scene().convert("1"), "TIFF", compression="group4", exif=exif_data()),
    "tiff-big": lambda: encoded(scene(), "TIFF", big_tiff=True, exif=exif_data()),
    "tiff-pages": lambda: encoded(scene(), "TIFF", save_all=True, append_images=[scene()], exif=exif_data()),
    "tiff-jpeg-that-tells": jpeg_strip,
    "heic-with-a-tail": lambda: encoded(scene(), "HEIF") + b"\0\0\0\4SECR" + SECRET.encode(),
    "webp-with-a-tail": lambda: encoded(scene(), "WEBP") + SECRET.encode() + bytes(3_000_000),
    "heic": lambda: encoded(scene(), "HEIF", exif=exif_data().tobytes(), xmp=XMP),
    "avif": lambda: encoded(scene(), "AVIF", exif=exif_data().tobytes(), xmp=XMP),
    "avif-plain": lambda: encoded(scene(), "AVIF", exif=exif_data(1).tobytes()),
}


def test_metadata_can_be_removed_from_every_accepted_format() -> None:
    accepted = {"image/jpeg", *(content_type for content_type, _ in FORMATS.values())}
    assert accepted == set(metadata._STRIPPERS)


@pytest.mark.parametrize("name", FILES)
def test_metadata_is_removed_and_the_image_is_unchanged(name: str) -> None:
    whole = FILES[name]()
    before = inspect(whole, 10**6)
    bare = strip_metadata(whole, before)
    assert SECRET.encode() not in bare
    assert SECRET.encode() not in inflated(bare)
    assert b"GPS" not in bare
    assert inspect(bare, 10**6) == before
    np.testing.assert_array_equal(to_tensor(bare), to_tensor(whole))
    with Image.open(BytesIO(whole)) as one, Image.open(BytesIO(bare)) as other:
        assert other.info.get("icc_profile") == one.info.get("icc_profile")
        assert other.info.get("loop") == one.info.get("loop")
        assert set(other.getexif()) - {ORIENTATION} <= tags_of_tiff(other)
        assert not other.getexif().get_ifd(GPS)
    # Done once more, nothing changes.
    assert strip_metadata(bare, before) == bare


def inflated(data: bytes) -> bytes:
    """The decompressed texts of a PNG."""
    found = data.find(b"zTXt")
    return zlib.decompress(data[found + 4 + len("Description") + 2 :]) if found >= 0 else b""


def tags_of_tiff(image: Image.Image) -> set[int]:
    """A TIFF's directory contains both image parameters and EXIF."""
    return {tag for tag in image.getexif() if tag not in {ARTIST, MADE_BY}} if image.format == "TIFF" else set()


def test_files_contain_metadata() -> None:
    """Otherwise its absence afterwards would prove nothing."""
    telling = [name for name, make in FILES.items() if SECRET.encode() in make()]
    assert set(FILES) - set(telling) == {"tiff-deflate-16"}


def test_bad_file_is_rejected_or_cleaned(subtests: pytest.Subtests) -> None:
    """Only this error is raised, for any declared type."""
    for name, data in corpus():
        for content_type, _ in {**FORMATS, "JPEG": ("image/jpeg", "jpg")}.values():
            with subtests.test(name, content_type=content_type):
                outcome(data, content_type)


def stripped(data: bytes) -> bytes:
    return strip_metadata(data, inspect(data, 10**6))


def test_ambiguous_file_does_not_become_a_different_image() -> None:
    """Found by fuzzing: one of two sizes was checked, and the other was stored."""
    pixels = encoded(Image.new("RGB", (20, 20)), "TIFF")[8:1208]
    tags = [(256, 4, 1, 20), (257, 4, 1, 20), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 14)]
    tags += [(277, 3, 1, 3), (278, 4, 1, 20), (279, 4, 1, 1200), (257, 4, 2**20, 2**30)]
    twice = tiff_of(*tags, values=struct.pack("<HHH", 8, 8, 8) + pixels)
    assert inspect(stripped(twice), 10**6) == inspect(twice, 10**6)
    image = inspect(jpeg(), 10**6)
    with pytest.raises(NotAnImage):
        strip_metadata(encoded(scene(30, 30), "JPEG", comment=b"metadata"), image)


def outcome(data: bytes, content_type: str) -> bytes | None:
    try:
        return metadata.strip_metadata(data, content_type)
    except ValueError:
        return None


def box(kind: bytes, contents: bytes) -> bytes:
    return struct.pack(">L4s", 8 + len(contents), kind) + contents


ITEMS = box(b"infe", struct.pack(">LHH4s", 0x02000000, 1, 0, b"Exif"))
FREE_EXTENTS = struct.pack(">LBBHHHH", 0, 0, 0, 1, 1, 0, 9_999)
META = box(b"meta", bytes(4) + box(b"iinf", struct.pack(">LH", 0, 1) + ITEMS) + box(b"iloc", FREE_EXTENTS))
STRIPS = 10_000
LARGE = 2_000_000

HOSTILE: dict[str, tuple[str, bytes]] = {
    "jpeg-segments": ("image/jpeg", b"\xff\xd8" + b"\xff\xfe\0\2" * 2_000_000),
    "png-chunks": ("image/png", b"\x89PNG\r\n\x1a\n" + struct.pack(">L4sL", 0, b"IDAT", 0) * 1_000_000),
    "webp-chunks": ("image/webp", b"RIFF\0\0\0\0WEBP" + struct.pack("<4sL", b"ALPH", 0) * 1_000_000),
    "webp-longest-chunk": ("image/webp", b"RIFF\0\0\0\0WEBP" + struct.pack("<4sL", b"ICCP", 2**32 - 1) + bytes(9)),
    "gif-blocks": ("image/gif", b"GIF89a" + bytes(7) + b"!\xfe" + b"\1x" * 5_000_000),
    "tiff-tags": ("image/tiff", tiff_of(*[(254, 1, LARGE, 8)] * 65535, values=bytes(LARGE))),
    "tiff-strips-over-each-other": (
        "image/tiff",
        tiff_of(
            (273, 4, STRIPS, 8),
            (279, 4, STRIPS, 8 + 4 * STRIPS),
            values=struct.pack(f"<{2 * STRIPS}L", *[8] * STRIPS, *[LARGE] * STRIPS) + bytes(LARGE),
        ),
    ),
    "tiff-of-unknown-kind": ("image/tiff", tiff_of((273, 4, 1, 8), (279, 4, 1, 1), (254, 99, 2**32 - 1, 0))),
    "boxes": ("image/avif", struct.pack(">L4s", 8, b"free") * 1_000_000),
    "boxes-in-boxes": ("image/avif", b"".join(struct.pack(">L4s", 0, b"moov") for _ in range(100_000))),
    "metas": ("image/avif", META * 9_000),
}
MOST_SECONDS = 2.0
"""Of this thread's work. Each takes less than a tenth of it; without its limit, tens of seconds or for ever."""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_takes_time_in_proportion_to_its_size(name: str) -> None:
    content_type, data = HOSTILE[name]
    began = time.thread_time()
    outcome(data, content_type)
    took = time.thread_time() - began
    # Again, because tracing takes several times as long.
    tracemalloc.start()
    outcome(data, content_type)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * len(data) + 30_000_000
    assert took < MOST_SECONDS


def test_wrong_counts_and_lengths_cause_no_internal_error() -> None:
    chance = random.Random(7)  # noqa: S311 - the same every time
    for name, make in FILES.items():
        whole = make()
        content_type = inspect(whole, 10**6).content_type
        for _ in range(200):
            data = bytearray(whole)
            for _ in range(chance.randint(1, 3)):
                place = chance.randrange(min(len(data), 600))
                data[place : place + 4] = chance.choice(
                    [b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\1"]
                )
            with contextlib.suppress(ValueError):
                metadata.strip_metadata(bytes(data), content_type)
            assert name


def test_irregular_file_stays_readable() -> None:
    whole = encoded(scene(), "GIF")
    image = whole.index(b",", 13 + 3 * 256)
    stray = whole[:image] + b"\0\0" + whole[image:]
    np.testing.assert_array_equal(to_tensor(stripped(stray)), to_tensor(whole))
    tiff = encoded(Image.new("RGB", (8, 8), "red"), "TIFF")
    (directory,) = struct.unpack_from("<L", tiff, 4)
    without_lengths = tiff.replace(struct.pack("<HH", 279, 4), struct.pack("<HH", 280, 4), 1)
    assert without_lengths != tiff, directory
    np.testing.assert_array_equal(to_tensor(stripped(without_lengths)), to_tensor(tiff))


def test_nested_metadata_is_removed() -> None:
    heic = encoded(scene(), "HEIF")
    assert SECRET.encode() not in stripped(heic + box(b"free", SECRET.encode()))
    frames = encoded(scene(), "WEBP", save_all=True, append_images=[scene().rotate(90)], lossless=True)
    frame = frames.index(b"ANMF")
    (length,) = struct.unpack_from("<L", frames, frame + 4)
    hidden = struct.pack("<4sL", b"note", 20) + SECRET.encode().ljust(20)
    longer = struct.pack("<4sL", b"ANMF", length + len(hidden)) + frames[frame + 8 : frame + 8 + length] + hidden
    whole = frames[:frame] + longer + frames[frame + 8 + length :]
    whole = whole[:4] + struct.pack("<L", len(whole) - 8) + whole[8:]
    bare = stripped(whole)
    assert SECRET.encode() not in bare
    np.testing.assert_array_equal(to_tensor(bare), to_tensor(frames))
