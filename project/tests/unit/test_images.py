import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from app.domain import ImageTooLarge, ImageUnreadable, NotAnImage
from app.images.formats import webp_pixels
from app.images.inspection import MAX_SIDE, inspect
from app.images.preprocessing import InputSpec, render_upright, to_tensor
from tests.pictures import bomb, encoded, jpeg, jpeg_with, scene, turned

PLENTY = 10**9
LOSSLESS = 0.02
LOSSY = 0.06


def distance(one: bytes, other: bytes) -> float:
    """Mean difference of two images' tensors; the range is 2."""
    return float(np.abs(to_tensor(one) - to_tensor(other)).mean())


@pytest.mark.parametrize(
    ("format_name", "content_type", "extension"),
    [
        ("JPEG", "image/jpeg", "jpg"),
        ("MPO", "image/jpeg", "jpg"),
        ("PNG", "image/png", "png"),
        ("WEBP", "image/webp", "webp"),
        ("GIF", "image/gif", "gif"),
        ("BMP", "image/bmp", "bmp"),
        ("TIFF", "image/tiff", "tiff"),
        ("AVIF", "image/avif", "avif"),
        ("HEIF", "image/heic", "heic"),
    ],
)
def test_every_format_is_recognised_and_decoded(format_name: str, content_type: str, extension: str) -> None:
    data = encoded(scene(400, 300), format_name)
    info = inspect(data, PLENTY)
    assert info.content_type == content_type
    assert info.extension == extension
    assert info.width == 400
    assert info.height == 300
    assert distance(data, encoded(scene(400, 300), "PNG")) < LOSSY


def test_first_of_several_jpegs_is_used() -> None:
    data = encoded(scene(), "MPO", save_all=True, append_images=[Image.new("RGB", (400, 300))])
    with_one = jpeg()
    assert inspect(data, PLENTY).content_type == "image/jpeg"
    assert distance(data, with_one) < LOSSY


def test_tensor_is_normalised_rgb() -> None:
    tensor = to_tensor(encoded(Image.new("RGB", (300, 300), (255, 0, 128)), "PNG"))
    assert tensor.shape == (224, 224, 3)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0, 0], [1.0, -1.0, 128 / 127.5 - 1], atol=1e-6)


def test_centre_is_cropped() -> None:
    # 512 x 256: the model sees the columns from (512 - 224) / 2 on. A red band there is all it sees.
    image = Image.new("RGB", (512, 256), "blue")
    image.paste("red", (144, 0, 368, 256))
    np.testing.assert_allclose(to_tensor(encoded(image, "PNG"))[:, 4:-4].mean(axis=(0, 1)), [1, -1, -1], atol=1e-3)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (InputSpec(size=32, short_side=32, scale=1.0, offset=0.0), [10, 20, 30]),
        (InputSpec(size=32, short_side=32, scale=1.0, offset=0.0, channels="bgr"), [30, 20, 10]),
        (InputSpec(size=32, short_side=32, scale=(1.0, 2.0, 3.0), offset=(0.0, 1.0, -1.0)), [10, 41, 89]),
        (InputSpec(size=32, short_side=32, scale=1.0, offset=(-1.0, 0.0, 0.0), channels="bgr"), [29, 20, 10]),
    ],
)
def test_normalisation_follows_the_manifest(spec: InputSpec, expected: list[float]) -> None:
    tensor = to_tensor(encoded(Image.new("RGB", (64, 64), (10, 20, 30)), "PNG"), spec)
    assert tensor.shape == (32, 32, 3)
    np.testing.assert_allclose(tensor[16, 16], expected)


def test_squashed_image_is_used_whole() -> None:
    image = Image.new("RGB", (512, 256), "blue")
    image.paste("red", (0, 0, 256, 256))
    tensor = to_tensor(encoded(image, "PNG"), InputSpec(resize="squash"))
    np.testing.assert_allclose(tensor[:, :108].mean(axis=(0, 1)), [1, -1, -1], atol=1e-3)
    np.testing.assert_allclose(tensor[:, 116:].mean(axis=(0, 1)), [-1, -1, 1], atol=1e-3)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(format_name: str, orientation: int) -> None:
    render_upright = scene(400, 300)
    stored = {
        1: render_upright,
        2: render_upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: render_upright.transpose(Image.Transpose.ROTATE_180),
        4: render_upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: render_upright.transpose(Image.Transpose.TRANSPOSE),
        6: render_upright.transpose(Image.Transpose.ROTATE_90),
        7: render_upright.transpose(Image.Transpose.TRANSVERSE),
        8: render_upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    data = encoded(stored, format_name, exif=turned(orientation))
    info = inspect(data, PLENTY)
    assert info.width == 400
    assert info.height == 300
    assert distance(data, encoded(render_upright, "PNG")) < LOSSY


def test_invalid_orientation_is_ignored() -> None:
    data = encoded(scene(), "JPEG", exif=turned(77))
    assert inspect(data, PLENTY).width == 400
    assert inspect(data, PLENTY).height == 300
    assert distance(data, jpeg()) < LOSSY


MODES = {
    "L": ["PNG", "TIFF", "JPEG", "GIF", "BMP", "WEBP"],
    "LA": ["PNG", "TIFF", "GIF", "WEBP"],
    "P": ["PNG", "TIFF", "GIF", "BMP", "WEBP"],
    "RGBA": ["PNG", "TIFF", "GIF", "BMP", "WEBP"],
    "CMYK": ["TIFF", "JPEG", "WEBP"],
    "YCbCr": ["TIFF", "JPEG", "WEBP"],
}
"""What Pillow can write."""


@pytest.mark.parametrize(("mode", "format_name"), [(mode, name) for mode, names in MODES.items() for name in names])
def test_every_mode_becomes_rgb(mode: str, format_name: str) -> None:
    image = scene().convert(mode)
    if mode == "P":
        image = scene().quantize(256, Image.Quantize.MEDIANCUT)
    data = encoded(image, format_name)
    expected = scene().convert("L") if mode in {"L", "LA"} else scene()
    assert distance(data, encoded(expected, "PNG")) < LOSSY


@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_shades_of_16_bit_grey_are_kept(format_name: str) -> None:
    grey = np.asarray(scene().convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert distance(encoded(deep, format_name), encoded(scene().convert("L"), "PNG")) < LOSSLESS


@pytest.mark.parametrize("factor", [1 / 255, 1.0, 257.0])
def test_shades_of_floating_point_grey_are_kept(factor: float) -> None:
    grey = np.asarray(scene().convert("L")).astype(np.float32)
    tensor = to_tensor(encoded(Image.fromarray(grey * np.float32(factor)), "TIFF"))
    assert tensor.std() > 0.2


def test_grey_image_of_nan_is_decoded() -> None:
    tensor = to_tensor(encoded(Image.fromarray(np.full((300, 300), np.nan, np.float32)), "TIFF"))
    assert np.isfinite(tensor).all()


def test_transparent_pixels_become_white() -> None:
    image = Image.new("RGBA", (300, 300), (255, 0, 0, 0))
    np.testing.assert_allclose(to_tensor(encoded(image, "PNG")), 1.0)


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation_is_used(format_name: str) -> None:
    black = Image.new("RGB", (400, 300))
    data = encoded(scene(), format_name, save_all=True, append_images=[black, black])
    assert distance(data, encoded(scene(), "PNG")) < LOSSY


@pytest.mark.parametrize("size", [(3000, 2), (2, 3000), (1, 30_000), (30_000, 1), (1, 1)])
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "GIF"])
def test_extreme_shapes_are_decoded(size: tuple[int, int], format_name: str) -> None:
    tensor = to_tensor(encoded(Image.new("RGB", size, "red"), format_name))
    np.testing.assert_allclose(tensor.mean(axis=(0, 1)), [1, -1, -1], atol=0.02)


def test_large_jpeg_decoded_at_a_reduced_size_looks_the_same() -> None:
    assert distance(jpeg(4000, 3000), jpeg(400, 300)) < LOSSY


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image, whatever its name says",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"%PDF-1.7\n",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"P6 2 2 255 " + bytes(12),
        b"\x89PNG\r\n\x1a\n" + b"\xff" * 40,
        b"II*\x00\x08\x00\x00\x00\xff\xff",
    ],
)
def test_unsupported_file_is_rejected(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        inspect(data, PLENTY)


def test_size_of_a_webp_is_known_before_it_is_opened() -> None:
    for size in ((1, 1), (300, 200), (16_383, 3)):
        images = [scene(*size), scene(*size).convert("RGBA")]
        extended = encoded(images[0], "WEBP", exif=b"Exif\0\0")
        for data in (*(encoded(image, "WEBP", lossless=lossless) for image in images for lossless in (0, 1)), extended):
            assert webp_pixels(data) == size[0] * size[1]
    assert webp_pixels(jpeg()) == webp_pixels(b"RIFF\0\0\0\0WEBPVP8 ") == 0


def test_thin_images_are_limited() -> None:
    assert inspect(encoded(Image.new("L", (MAX_SIDE, 1)), "PNG"), 10**9).width == MAX_SIDE
    for size in ((MAX_SIDE + 1, 1), (1, MAX_SIDE + 1)):
        with pytest.raises(ImageTooLarge, match="the limit for a side is 100000"):
            inspect(encoded(Image.new("L", size), "PNG"), 10**9)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "P", "1", "I;16", "F", "CMYK"])
@pytest.mark.parametrize("size", [(3_001, 2_003), (20_000, 33), (33, 20_000)])
def test_small_rendition_of_a_large_image_equals_a_direct_one(mode: str, size: tuple[int, int]) -> None:
    picture = scene(*size)
    image = picture.quantize(16) if mode == "P" else picture.convert("L" if mode in {"I;16", "F"} else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(image).astype(np.float32) / 255)
    data = encoded(image, "TIFF" if mode in {"F", "CMYK"} else "PNG")
    expected = image.convert("RGB") if mode not in {"I;16", "F"} else picture.convert("L").convert("RGB")
    for side in (16, 100, 1_024):
        shown = render_upright(data, side)
        assert max(shown.size) == side
        direct = expected.resize(shown.size, Image.Resampling.BICUBIC)
        assert np.abs(np.asarray(shown, dtype=float) - np.asarray(direct, dtype=float)).mean() < 4, side


def test_key_colour_of_a_png_is_white() -> None:
    key = Image.new("RGB", (200, 100), (255, 0, 255))
    assert (np.asarray(render_upright(encoded(key, "PNG", transparency=(255, 0, 255)), 100)) == 255).all()
    assert (to_tensor(encoded(key, "PNG", transparency=(255, 0, 255))) == 1).all()


def test_decompression_bomb_is_rejected_by_its_header() -> None:
    with pytest.raises(ImageTooLarge, match="30000 x 30000 pixels; the limit is 50000000"):
        inspect(bomb(), 50_000_000)


def test_pixel_limit_is_inclusive() -> None:
    assert inspect(jpeg(40, 30), 1200).width == 40
    with pytest.raises(ImageTooLarge):
        inspect(jpeg(40, 30), 1199)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF", "GIF"])
def test_truncated_image_is_unreadable_or_rejected(format_name: str) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    data = encoded(noise, format_name)
    half = data[: len(data) // 2]
    # Whatever the header still says, decoding has to notice.
    with pytest.raises(ImageUnreadable):
        to_tensor(half)


def png_with_empty_chunks(count: int) -> bytes:
    data = encoded(scene(), "PNG")
    chunk = bytes(4) + b"abCd" + zlib.crc32(b"abCd").to_bytes(4, "big")
    return data[:33] + chunk * count + data[33:]


def gif_with_comment_blocks(count: int) -> bytes:
    data = encoded(scene(), "GIF")
    screen = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:screen] + b"\x21\xfe" + b"\x01x" * count + b"\x00" + data[screen:]


@pytest.mark.parametrize(
    "data",
    [
        png_with_empty_chunks(500_000),
        gif_with_comment_blocks(1_000_000),
    ],
    ids=["PNG chunks", "GIF comments"],
)
def test_file_of_countless_blocks_is_rejected(data: bytes) -> None:
    """Each of these kept Pillow busy for seconds to minutes."""
    with pytest.raises(NotAnImage):
        inspect(data, PLENTY)
    with pytest.raises(ImageUnreadable):
        to_tensor(data)


def test_file_of_some_blocks_is_accepted() -> None:
    for data in (
        jpeg_with(b"\xff\xe1", b"Exif\0\0" + turned(6).tobytes()[6:], 1),
        jpeg_with(b"\xff\xfe", b"a comment", 100),
        png_with_empty_chunks(100),
        gif_with_comment_blocks(100),
    ):
        assert inspect(data, PLENTY).width in {300, 400}
        to_tensor(data)


def test_tiff_whose_tags_repeat_the_file_is_rejected() -> None:
    count = 500
    filler = bytes(200_000)
    tags = b"".join(struct.pack("<HHLL", 40_000 + n, 7, len(filler), 8) for n in range(count))
    data = b"II*\0" + struct.pack("<L", 8 + len(filler)) + filler + struct.pack("<H", count) + tags + bytes(4)
    with pytest.raises(NotAnImage):
        inspect(data, PLENTY)
