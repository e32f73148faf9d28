"""Files that Pillow reads wrongly or not at all look as they do in browsers."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from app.domain import NotAnImage
from app.images.inspection import inspect, strip_metadata
from app.images.preprocessing import render_upright
from tests.conftest import SHARED_IMAGES
from tests.pictures import encoded, jpeg_with, scene

CLOSE = 4.0
FAULTS = SHARED_IMAGES.parent / "faults" / "images"


def shown(data: bytes) -> Image.Image:
    """The image as the service shows it, once its metadata is removed."""
    image = inspect(data, 10**9)
    rendered = render_upright(strip_metadata(data, image), 1024)
    assert rendered.size == (image.width, image.height)
    return rendered


def difference(data: bytes, expected: Image.Image) -> float:
    one, other = (np.asarray(image.convert("RGB"), dtype=float) for image in (shown(data), expected))
    return float(np.abs(one - other).mean())


def png_chunk(kind: bytes, contents: bytes, *, crc: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + contents) if crc is None else crc
    return struct.pack(">L", len(contents)) + kind + contents + struct.pack(">L", checksum)


@pytest.mark.parametrize("kind", [b"tEXt", b"gAMA", b"pHYs", b"iCCP", b"eXIf", b"zzZz"])
def test_wrong_checksum_of_an_ancillary_chunk_is_ignored(kind: bytes) -> None:
    data = encoded(scene(), "PNG")
    damaged = data[:33] + png_chunk(kind, struct.pack(">L", 100_000), crc=1) + data[33:]
    assert difference(damaged, scene()) == 0


def test_key_of_grey_with_few_bits_is_transparent() -> None:
    for depth in (1, 2, 4, 8):
        steps = 2**depth
        row = np.arange(steps, dtype=np.uint8)
        bits = np.unpackbits(row[:, np.newaxis], axis=1)[:, 8 - depth :].reshape(-1)
        line = b"\0" + np.packbits(bits).tobytes()
        data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">LLBBBBB", steps, 1, depth, 0, 0, 0, 0))
        data += png_chunk(b"tRNS", struct.pack(">H", steps - 2 if steps > 2 else 0))
        data += png_chunk(b"IDAT", zlib.compress(line)) + png_chunk(b"IEND", b"")
        expected = np.round(row.astype(float) * 255 / (steps - 1))
        expected[steps - 2 if steps > 2 else 0] = 255
        assert np.array_equal(np.asarray(shown(data))[0, :, 0], expected), depth


def test_first_frame_of_an_animated_png_is_shown() -> None:
    hidden = Image.new("RGB", (120, 90), "red")
    buffer = BytesIO()
    frames = [scene(120, 90), Image.new("RGB", (120, 90), "blue")]
    hidden.save(buffer, "PNG", save_all=True, append_images=frames, default_image=True)
    assert difference(buffer.getvalue(), frames[0]) == 0
    buffer = BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    assert difference(buffer.getvalue(), frames[0]) == 0


def test_canvas_around_the_first_frame_of_a_gif_is_white() -> None:
    small = Image.new("P", (40, 30), 1)
    small.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    data = bytearray(encoded(small, "GIF"))
    # The canvas is larger than the frame, which is at (10, 20).
    struct.pack_into("<HH", data, 6, 100, 80)
    place = data.index(b"\x2c", 13)
    struct.pack_into("<HH", data, place + 1, 10, 20)
    pixels = np.asarray(shown(bytes(data)))
    assert pixels.shape[:2] == (80, 100)
    assert (pixels[25, 15] == (255, 0, 0)).all()
    assert (pixels[0, 0] == 255).all()
    assert (pixels[70, 90] == 255).all()


def masked_bmp(picture: Image.Image, masks: tuple[int, ...], depth: int, compression: int) -> bytes:
    """A BMP with any masks; an alpha mask hides nothing."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.uint64)
    values = np.zeros(pixels.shape[:2], dtype=np.uint64)
    for channel, mask in enumerate(masks):
        shift = (mask & -mask).bit_length() - 1
        highest = mask >> shift
        level = pixels[..., channel] if channel < 3 else np.full(values.shape, 255, np.uint64)
        values |= ((level * highest + 127) // 255) << np.uint64(shift)
    kind = {16: "<u2", 32: "<u4"}[depth]
    rows = values[::-1].astype(kind)
    padding = -rows.shape[1] * rows.itemsize % 4
    body = b"".join(row.tobytes() + bytes(padding) for row in rows)
    head = struct.pack("<LllHHLLllLL", 40, picture.width, picture.height, 1, depth, compression, len(body), 0, 0, 0, 0)
    table = struct.pack(f"<{len(masks)}L", *masks)
    offset = 14 + len(head) + len(table)
    return struct.pack("<2sLHHL", b"BM", offset + len(body), 0, 0, offset) + head + table + body


@pytest.mark.parametrize(
    ("masks", "depth", "compression"),
    [
        ((0xFF, 0xFF00, 0xFF0000), 32, 3),
        ((0x3FF00000, 0xFFC00, 0x3FF), 32, 3),
        ((0xFF0000, 0xFF00, 0xFF), 32, 3),
        ((0xFF, 0xFF00, 0xFF0000, 0xFF000000), 32, 6),
        ((0xF00, 0xF0, 0xF), 16, 3),
        ((0xF800, 0x7E0, 0x1F), 16, 3),
        ((0x1F, 0x7E0, 0xF800), 16, 3),
    ],
    ids=str,
)
def test_bmp_with_any_masks_is_read(masks: tuple[int, ...], depth: int, compression: int) -> None:
    picture = scene(121, 90)
    data = masked_bmp(picture, masks, depth, compression)
    assert difference(data, picture) < (8 if depth == 16 else 1)
    with pytest.raises(NotAnImage):
        inspect(data[:40], 10**9)


def exif(order: str, kind: int, orientation: int) -> bytes:
    """An EXIF block whose orientation has any integer type."""
    form = {1: "Bxxx", 3: "Hxx", 4: "L", 6: "bxxx", 8: "hxx", 9: "l"}[kind]
    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(f"{order}HHL", 0x0112, kind, 1) + struct.pack(f"{order}{form}", orientation)
    return mark + struct.pack(f"{order}HLH", 42, 8, 1) + entry + bytes(4)


def test_orientation_of_any_integer_type_means_the_same_in_both_byte_orders() -> None:
    turned = scene(120, 90).transpose(Image.Transpose.ROTATE_270)
    for order in "<>":
        for kind in (1, 3, 4, 6, 8, 9):
            block = exif(order, kind, 6)
            data = jpeg_with(b"\xff\xe1", b"Exif\0\0" + block, 1)
            assert inspect(data, 10**9).width == 300, (order, kind)
            for preamble in (b"", b"Exif\0\0"):
                png = encoded(scene(120, 90), "PNG")
                png = png[:33] + png_chunk(b"eXIf", preamble + block) + png[33:]
                assert difference(png, turned) == 0, (order, kind, preamble)
            webp = encoded(scene(120, 90), "WEBP", lossless=True, exif=b"Exif\0\0" + block)
            assert difference(webp, turned) == 0, (order, kind)


def with_clap(data: bytes, width: int, height: int, across: int, down: int) -> bytes:
    """An AVIF whose property ``colr`` becomes a clean aperture."""
    place = data.index(b"colr") - 4
    (size,) = struct.unpack_from(">L", data, place)
    clap = struct.pack(">L4sLLLLlLlL", 40, b"clap", width, 1, height, 1, across, 1, down, 1)
    grown = data[:place] + clap + data[place + size :]
    more = len(clap) - size
    # The boxes around it are longer now, and the pixels are further back.
    changed = bytearray(grown)
    for kind in (b"meta", b"iprp", b"ipco"):
        at = changed.index(kind) - 4
        struct.pack_into(">L", changed, at, struct.unpack_from(">L", changed, at)[0] + more)
    at = changed.index(b"iloc") + 4 + 4
    offset_bytes, length_bytes = changed[at] >> 4, changed[at] & 15
    assert (offset_bytes, length_bytes, changed[at + 1] >> 4) == (4, 4, 0)
    # Properties that change the shape must be marked as essential.
    properties = changed.index(b"ipco") + 4
    index, place = 1, properties
    while changed[place + 4 : place + 8] != b"clap":
        index, place = index + 1, place + struct.unpack_from(">L", changed, place)[0]
    associations = changed.index(b"ipma") + 4 + 4 + 4 + 2 + 1
    changed[changed.index(bytes((index,)), associations)] |= 0x80
    # Count, then an item: its number, its data reference, its extents, an offset and a length.
    place = at + 2 + 2 + 2 + 2 + 2
    struct.pack_into(">L", changed, place, struct.unpack_from(">L", changed, place)[0] + more)
    return bytes(changed)


def test_clean_aperture_of_an_avif_is_cropped() -> None:
    data = encoded(scene(240, 200), "AVIF", quality=95)
    cropped = with_clap(data, 100, 80, 10, -20)
    assert difference(cropped, scene(240, 200).crop((80, 40, 180, 120))) < CLOSE


@pytest.mark.parametrize(
    ("components", "factors"),
    [
        (3, (4, 1, 1, 1, 1, 1)),
        (3, (3, 1, 1, 1, 1, 1)),
        (3, (1, 4, 1, 1, 1, 1)),
        (3, (2, 2, 2, 1, 1, 2)),
        (3, (4, 2, 1, 1, 1, 1)),
    ],
)
def test_unusual_sampling_factors_are_accepted(components: int, factors: tuple[int, ...]) -> None:
    """Libjpeg decodes them, although TurboJPEG's interface refuses most."""
    options: dict[str, Any] = {"quality": 90}
    data = bytearray(encoded(Image.new("RGB", (192, 192), (200, 90, 40)), "JPEG", **options, subsampling=0))
    place = data.index(b"\xff\xc0")
    assert data[place + 9] == components
    for number in range(components):
        data[place + 11 + 3 * number] = factors[2 * number] << 4 | factors[2 * number + 1]
    image = inspect(bytes(data), 10**9)
    assert (image.width, image.height) == (192, 192)


@pytest.mark.parametrize("name", ["sampling-410", "sampling-31", "sampling-mixed", "sampling-cmyk", "icc-p3"])
def test_jpeg_of_another_program_looks_right(name: str) -> None:
    """No encoder that the tests have writes such files."""
    if not FAULTS.is_dir():
        pytest.skip("the shared pictures are not here")
    expected = Image.open(FAULTS / "original-apple.png")
    assert difference((FAULTS / f"{name}.jpg").read_bytes(), expected) < 5


def test_cmyk_profile_is_applied_as_little_cms_does() -> None:
    if not FAULTS.is_dir():
        pytest.skip("the shared pictures are not here")
    data = (FAULTS / "icc-cmyk.jpg").read_bytes()
    stored = Image.open(BytesIO(data))
    profile = ImageCms.ImageCmsProfile(BytesIO(stored.info["icc_profile"]))
    expected = ImageCms.profileToProfile(stored, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert expected is not None
    assert difference(data, expected) < 1
    assert difference(data, stored) > 20


def test_png_with_short_ancillary_chunks_is_read() -> None:
    data = encoded(scene(), "PNG")
    for kind in (b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"tRNS", b"iCCP", b"acTL", b"cICP"):
        assert difference(data[:33] + png_chunk(kind, b"") + data[33:], scene()) == 0, kind


def apng(default: Image.Image, frame: Image.Image, left: int, top: int, blend: int) -> bytes:
    """An animated PNG of one frame, which is not the default image."""
    parts = {name: encoded(image, "PNG") for name, image in (("default", default), ("frame", frame))}

    def pixels(data: bytes) -> bytes:
        place = data.index(b"IDAT")
        return data[place + 4 : place + 4 + int.from_bytes(data[place - 4 : place], "big")]

    control = struct.pack(">LLLLLHHBB", 0, frame.width, frame.height, left, top, 1, 10, 0, blend)
    return (
        parts["default"][:33]
        + png_chunk(b"acTL", struct.pack(">LL", 1, 0))
        + png_chunk(b"IDAT", pixels(parts["default"]))
        + png_chunk(b"fcTL", control)
        + png_chunk(b"fdAT", struct.pack(">L", 1) + pixels(parts["frame"]))
        + png_chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("blend", [0, 1], ids=["source", "over"])
def test_default_image_does_not_shine_through_the_first_frame(blend: int) -> None:
    default = Image.new("RGBA", (60, 40), "red")
    frame = Image.new("RGBA", (20, 10), (0, 0, 255, 255))
    expected = Image.new("RGB", (60, 40), "white")
    expected.paste("blue", (30, 5, 50, 15))
    assert difference(apng(default, frame, 30, 5, blend), expected) == 0
    transparent = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    assert difference(apng(default, transparent, 0, 0, blend), Image.new("RGB", (60, 40), "white")) == 0


def test_mask_for_transparency_of_an_uncompressed_bmp_is_respected() -> None:
    header = bytearray(124)
    struct.pack_into("<LllHHLL", header, 0, 124, 8, 8, 1, 32, 0, 8 * 8 * 4)
    struct.pack_into("<L", header, 52, 0xFF000000)
    data = b"BM" + struct.pack("<LHHL", 138 + 256, 0, 0, 138) + bytes(header) + bytes((40, 80, 200, 128)) * 64
    expected = tuple(round(level * 128 / 255 + 127) for level in (200, 80, 40))
    assert difference(data, Image.new("RGB", (8, 8), expected)) <= 1


def with_property(data: bytes, contents: bytes) -> bytes:
    """An AVIF with another property before all others, which belongs to no image."""
    at = data.index(b"ipco") + 4
    grown = bytearray(data[:at] + struct.pack(">L", 4 + len(contents)) + contents + data[at:])
    more = 4 + len(contents)
    for kind in (b"meta", b"iprp", b"ipco"):
        place = grown.index(kind) - 4
        struct.pack_into(">L", grown, place, struct.unpack_from(">L", grown, place)[0] + more)
    place = grown.index(b"iloc") + 4 + 4 + 2 + 2 + 2 + 2 + 2
    struct.pack_into(">L", grown, place, struct.unpack_from(">L", grown, place)[0] + more)
    associations = grown.index(b"ipma") + 4 + 4 + 4 + 2
    for place in range(associations + 1, associations + 1 + grown[associations]):
        grown[place] += 1
    return bytes(grown)


def test_properties_of_other_images_in_an_avif_are_ignored() -> None:
    data = encoded(scene(240, 200), "AVIF", quality=95)
    hdr = with_property(data, b"colrnclx" + struct.pack(">HHHB", 9, 16, 9, 0x80))
    assert difference(hdr, scene(240, 200)) < CLOSE
    clap = with_property(data, b"clap" + struct.pack(">LLLLlLlL", 100, 1, 80, 1, 0, 1, 0, 1))
    assert difference(clap, scene(240, 200)) < CLOSE


def test_key_of_16_bit_grey_is_transparent() -> None:
    row = np.array([0, 1000, 40_000, 65_535], dtype=">u2")
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">LLBBBBB", 4, 1, 16, 0, 0, 0, 0))
    data += png_chunk(b"tRNS", struct.pack(">H", 1000))
    data += png_chunk(b"IDAT", zlib.compress(b"\0" + row.tobytes())) + png_chunk(b"IEND", b"")
    assert np.asarray(shown(data))[0, :, 0].tolist() == [0, 255, 156, 255]
