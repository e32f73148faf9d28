"""A refusal says what a file is, and a TIFF that would look wrong is refused with the reason."""

import struct
from io import BytesIO
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from app.domain import ImageUnreadable, NotAnImage
from app.images.identify import ACCEPTED, describe
from app.images.inspection import inspect
from app.images.preprocessing import render_upright
from tests.pictures import encoded, jpeg, scene


def reason(data: bytes) -> str | None:
    with pytest.raises(NotAnImage) as refused:
        inspect(data, 10**9)
    assert refused.value.message == "File must be an image"
    return refused.value.reason


FILES = {
    "a JPEG XL image": [b"\xff\x0a\x01", b"\0\0\0\x0cJXL \r\n\x87\n"],
    "a JPEG 2000 image": [b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51\0"],
    "an icon (ICO)": [b"\0\0\1\0\1\0\x10\x10"],
    "a PDF document": [b"%PDF-1.4\n"],
    "an SVG drawing": [
        b"<svg/>",
        b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- drawn -->\n<!DOCTYPE svg>\n<svg xmlns='x'>",
    ],
    "a web page": [b"<!DOCTYPE html><html>", b"\n<html>"],
    "a video": [b"\0\0\0\x18ftypmp42", b"\0\0\0\x14ftypqt  ", b"\x1a\x45\xdf\xa3", b"RIFF\0\0\0\0AVI LIST"],
    "a sound file": [b"RIFF\0\0\0\0WAVEfmt ", b"ID3\4"],
    "a text file": [b"hello", "größe\n".encode(), b"a,b\n1,2\n", ("ä" * 5000).encode()[:4097]],
    "an empty file": [b""],
}


@pytest.mark.parametrize("name", FILES)
def test_file_that_is_no_accepted_image_is_named(name: str) -> None:
    for data in FILES[name]:
        assert reason(data) == f"This is {name}. Accepted are {ACCEPTED}."


def test_advice_is_given_where_there_is_some() -> None:
    assert reason(b"PK\3\4" + bytes(26)) == "This is a ZIP file: send it to /predictions/batch."
    for raw in (b"IIRO", b"FUJIFILMCCD-RAW ", b"\0\0\0\x18ftypcrx ", b"II*\0\x10\0\0\0CR\2\0" + bytes(20)):
        assert reason(raw + bytes(30)) == "This is a camera's raw file: convert it to JPEG first."


def test_unknown_and_damaged_files_are_not_named() -> None:
    for data in (bytes(range(128, 256)), encoded(scene(), "PNG")[:20], b"\x00\x01\x02"):
        assert reason(data) is None
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"):
        assert describe(encoded(scene(), kind)) is None


def test_bits_of_a_jpeg_are_named() -> None:
    data = bytearray(jpeg())
    data[data.index(b"\xff\xc0") + 4] = 12
    assert reason(bytes(data)) == "This is a JPEG with 12 bits per sample: save it with 8 bits per sample."


def tiff(pixels: bytes, width: int, height: int, *more: tuple[int, int, int]) -> bytes:
    """An uncompressed TIFF with one sample per pixel, and further tags: number, type and value."""
    tags = sorted([(256, 4, width), (257, 4, height), (259, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, height),
                   (279, 4, len(pixels)), *more])  # fmt: skip
    padded = pixels + bytes(len(pixels) % 2)
    fields = b"".join(
        struct.pack("<HHL", tag, kind, 1) + (struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<L", value))
        for tag, kind, value in tags
    )
    return struct.pack("<2sHL", b"II", 42, 8 + len(padded)) + padded + struct.pack("<H", len(tags)) + fields + bytes(4)


BITS, PHOTOMETRIC, FORMAT = 258, 262, 339
RAMP = np.tile(np.linspace(0, 1, 64), (32, 1))


def grey(data: bytes) -> np.ndarray:
    inspect(data, 10**9)
    return np.asarray(render_upright(data, 1024).convert("L"), dtype=float)


@pytest.mark.parametrize(
    ("bits", "kind", "highest", "form"),
    [
        (8, 1, 255, "u1"),
        (16, 1, 65_535, "<u2"),
        (16, 1, 4_095, "<u2"),
        (16, 1, 1_023, "<u2"),
        (16, 1, 16_383, "<u2"),
        (16, 1, 255, "<u2"),
        (16, 2, 4_095, "<i2"),
        (16, 2, 255, "<i2"),
        (32, 1, 2**24 - 1, "<u4"),
        (32, 2, 255, "<i4"),
        (32, 2, 65_535, "<i4"),
        (32, 3, 1e-3, "<f4"),
        (16, 2, 32_767, "<i2"),
        (32, 1, 2**32 - 1, "<u4"),
        (32, 1, 255, "<u4"),
        (32, 2, 2**31 - 1, "<i4"),
        (32, 3, 1, "<f4"),
        (32, 3, 1_000, "<f4"),
    ],
)
def test_grey_tiff_has_its_whole_range(bits: int, kind: int, highest: int, form: str) -> None:
    inverted = {(8, 1), (16, 1), (32, 3)}
    for photometric in (0, 1) if (bits, kind) in inverted else (1,):
        ramp = 1 - RAMP if photometric == 0 else RAMP
        values = (ramp * highest).astype(form)
        data = tiff(values.tobytes(), 64, 32, (BITS, 3, bits), (PHOTOMETRIC, 3, photometric), (FORMAT, 3, kind))
        assert np.abs(grey(data) - RAMP * 255).mean() < 3


def test_packed_12_bit_tiff_has_its_whole_range() -> None:
    values = (RAMP * 4_095).round().astype(int)
    first, second = values[:, 0::2], values[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8)
    data = tiff(packed.tobytes(), 64, 32, (BITS, 3, 12), (PHOTOMETRIC, 3, 1))
    assert np.abs(grey(data) - RAMP * 255).mean() < 3


@pytest.mark.parametrize(
    ("photometric", "bits", "kind", "named"),
    [
        (1, 16, 3, "grey with 16-bit floating-point samples"),
        (1, 10, 1, "grey with 10-bit unsigned samples"),
        (1, 14, 1, "grey with 14-bit unsigned samples"),
        (0, 16, 2, "inverted grey with 16-bit signed samples"),
        (0, 32, 1, "inverted grey with 32-bit unsigned samples"),
        (0, 12, 1, "inverted grey with 12-bit unsigned samples"),
        (1, 64, 3, "grey with 64-bit floating-point samples"),
        (8, 16, 1, "CIELAB with 16-bit unsigned samples"),
        (3, 16, 1, "palette with 16-bit unsigned samples"),
        (32_844, 16, 2, "LogL with 16-bit signed samples"),
        (77, 8, 1, "photometric interpretation 77 with 8-bit unsigned samples"),
    ],
)
def test_other_tiff_is_refused_with_its_kind(photometric: int, bits: int, kind: int, named: str) -> None:
    data = tiff(bytes(64 * 32 * 8), 64, 32, (BITS, 3, bits), (PHOTOMETRIC, 3, photometric), (FORMAT, 3, kind))
    assert reason(data) == f"This is a TIFF with {named}: save it with 8 bits per sample."


def test_raw_file_is_refused_instead_of_its_thumbnail() -> None:
    thumbnail = encoded(scene(40, 30), "TIFF")
    assert inspect(thumbnail, 10**9).width == 40
    dng = Image.Exif()
    dng[0x0112] = 1
    pixels = bytes(64 * 32)
    for tag in ((50_706, 1, 1),):
        assert reason(tiff(pixels, 64, 32, (BITS, 3, 8), (PHOTOMETRIC, 3, 1), tag)) is not None
    for photometric in (32_803, 34_892):
        assert "raw file" in str(reason(tiff(pixels, 64, 32, (BITS, 3, 8), (PHOTOMETRIC, 3, photometric))))


def zipped(*names: str, contents: bytes = b"x") -> bytes:
    file = BytesIO()
    with ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, contents)
    return file.getvalue()


def test_zip_of_pictures_is_pointed_to_the_batch_whatever_its_bytes_are() -> None:
    pictures = zipped("holiday/1.jpg", "xl/2.jpg", "word/3.jpg", contents=b"...xl/...word/...ppt/...")
    assert reason(pictures) == "This is a ZIP file: send it to /predictions/batch."


def rgb_tiff(values: np.ndarray, **tags: int) -> bytes:
    """A TIFF of RGB with 16 bits per sample, as Pillow cannot write it."""
    height, width, _ = values.shape
    numbers = {PHOTOMETRIC: 2, 284: tags.get("planes", 1), FORMAT: 1}
    fixed = ((tag, 3, value) for tag, value in numbers.items())
    data = bytearray(tiff(values.astype("<u2").tobytes(), width, height, *fixed))
    (directory,) = struct.unpack_from("<L", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    for place in range(directory + 2, directory + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, place)[0] == 277:
            struct.pack_into("<H", data, place + 8, 3)
    at = len(data)
    entry = struct.pack("<HHLL", BITS, 3, 3, at + 12)
    fields = [bytes(data[place : place + 12]) for place in range(directory + 2, directory + 2 + 12 * count, 12)]
    fields = sorted([*fields, entry], key=lambda field: struct.unpack_from("<H", field)[0])
    tail = struct.pack("<H", count + 1) + b"".join(fields) + bytes(4)
    data = data[:directory] + tail
    place = data.index(entry)
    struct.pack_into("<L", data, place + 8, len(data))
    return bytes(data) + struct.pack("<3H", 16, 16, 16)


QUARTER = np.array([200, 80, 40]) / 255


def test_rgb_tiff_that_uses_a_part_of_its_bits_is_neither_black_nor_guessed() -> None:
    for used, is_accepted in ((16, True), (14, True), (12, False), (10, False)):
        values = np.tile((QUARTER * (2**used - 1)).round(), (32, 32, 1))
        values[:4] = 2**used - 1
        data = rgb_tiff(values)
        inspect(data, 10**9)
        if is_accepted:
            shown = np.asarray(render_upright(data, 64), dtype=int)[16, 16]
            assert np.abs(shown - (200, 80, 40)).max() <= 4, used
        else:
            with pytest.raises(ImageUnreadable, match="12 bits or fewer of 16"):
                render_upright(data, 64)


def test_planes_of_16_bits_are_refused() -> None:
    assert "16-bit samples in separate planes" in str(reason(rgb_tiff(np.zeros((8, 8, 3)), planes=2)))


def test_palette_of_8_bits_is_not_black() -> None:
    colours = [200, 80, 40, *([0] * 765)]
    image = Image.new("P", (32, 32), 0)
    image.putpalette(colours)
    data = bytearray(encoded(image, "TIFF"))
    place = data.index(struct.pack("<HHL", 320, 3, 768))
    (at,) = struct.unpack_from("<L", data, place + 8)
    for index in range(768):
        (value,) = struct.unpack_from("<H", data, at + 2 * index)
        struct.pack_into("<H", data, at + 2 * index, value >> 8)
    assert render_upright(bytes(data), 64).getpixel((9, 9)) == (200, 80, 40)


def test_missing_values_of_a_map_do_not_hide_the_others() -> None:
    values = RAMP.astype("<f4")
    values[0, :3] = -3.4e38, np.nan, np.inf
    data = tiff(values.tobytes(), 64, 32, (BITS, 3, 32), (PHOTOMETRIC, 3, 1), (FORMAT, 3, 3))
    assert np.abs(grey(data)[8:] - 255 * RAMP[8:]).max() <= 2


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b'<!DOCTYPE svg PUBLIC "a" "b" [ <!ENTITY c "d"> ]><svg xmlns="e">', "an SVG drawing"),
        (b"<svg:svg>", "an SVG drawing"),
        (b"<!--" + b"x" * 3_000 + b"--><svg/>", "an SVG drawing"),
        ("<svg/>".encode("utf-16"), "an SVG drawing"),
        (b"\xef\xbb\xbf<!doctype html>", "a web page"),
        (b"\0\0\0\x20ftypM4A " + bytes(16), "a sound file"),
        (zipped("[Content_Types].xml", "word/document.xml"), "a document of an office program"),
        (zipped("mimetype", contents=b"application/vnd.oasis.opendocument.text"), "a document of an office program"),
    ],
    # Not the data: an archive contains the time, and each process that runs tests would have names of its own.
    ids=["doctype", "prefix", "comment", "utf-16", "byte order mark", "m4a", "docx", "odt"],
)
def test_variants_of_other_files_are_named(data: bytes, named: str) -> None:
    assert reason(data) == f"This is {named}. Accepted are {ACCEPTED}."


@pytest.mark.parametrize(
    "data", [b"\xff\xd8\xff", b"GIF89a", b"\0\0\2\0" + bytes(40), b"\0\0\1\0moov" + bytes(40), b"<!---->" * 600]
)
def test_nothing_untrue_is_said(data: bytes) -> None:
    assert reason(data) in {None, f"This is a text file. Accepted are {ACCEPTED}."}
    if not data.startswith(b"<"):
        assert reason(data) is None


def test_tags_of_any_type_are_refused_without_a_reason() -> None:
    """A directory with too many tags, whose number of samples is a text."""
    texts = b"".join(struct.pack("<HHL4s", tag, 2, 1, b"\0\0\0\0") for tag in range(256, 1300))
    data = b"II*\0" + struct.pack("<LH", 8, 1044) + texts + bytes(4)
    assert reason(data) is None
