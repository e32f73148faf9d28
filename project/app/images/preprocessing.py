"""Prepares an image for a model, and renders it for people. Pure functions.

Geometry (record 4): the short side is scaled to 256 and the central 224 x 224 cropped, with EXIF orientation applied.
Both are one ``resize(box=...)`` of the visible part, so that no image shape costs more than its own pixels.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.domain import ImageUnreadable
from app.images import jpeg
from app.images.colour import Colours, of_profile
from app.images.corrections import corrected, readable, select_first_frame
from app.images.deep_grey import BAND_BYTES, BAND_PIXELS, DeepGrey
from app.images.formats import colours_of, open_image, orientation_of, webp_pixels
from app.images.memory import BUDGET, BYTES_PER_PIXEL
from app.images.metered_file import MAX_READS, MeteredFile
from app.images.resizing import SUPPORT, Box, reach, resize

JPEG_QUALITY: Final = 85
SPARE: Final = 1.5
_LEFT_TO_SCALE: Final = 3
"""Pixels for each one of the result that are left after a large image is reduced."""

_Target = Callable[[int, int], tuple[tuple[int, int], Box]]
"""For an image's width and height: the size to scale to, and the part to take."""

_TRANSPOSE: Final[dict[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to display an image upright, by EXIF orientation (CIPA DC-008, tag 0x0112)."""


PerChannel = float | tuple[float, float, float]
"""One number, or one for each channel in the model's order."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """A model's input: ``size`` x ``size`` pixels, normalized as ``x * scale + offset`` with x in 0..255.

    ``resize``: "crop" scales the short side to ``short_side`` and takes the centre; "squash" takes the whole image and
    ignores its aspect ratio.
    """

    size: int = 224
    resize: Literal["crop", "squash"] = "crop"
    short_side: int = 256
    channels: Literal["rgb", "bgr"] = "rgb"
    scale: PerChannel = 1 / 127.5
    offset: PerChannel = -1.0

    @property
    def enough(self) -> int:
        """Sufficient short side in pixels; an image may be decoded at a smaller size as long as it keeps this.

        1.5 times what the model needs: without that margin 3 of 40 results changed at 12 megapixels, with it 1.
        """
        return round(SPARE * (self.short_side if self.resize == "crop" else self.size))

    def box(self, width: int, height: int) -> Box:
        """The part of an image that the model sees, in (fractional) pixels."""
        if self.resize == "squash":
            return 0, 0, width, height
        side = min(width, height) * self.size / self.short_side
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side


def to_tensor(data: bytes, spec: InputSpec = InputSpec()) -> NDArray[np.float32]:
    """Decode an image and crop what the model sees.

    Returns float32 of shape (size, size, 3), channels and range as in ``spec`` (RGB in -1..1 by default). Raises
    ImageUnreadable if the bytes cannot be decoded.
    """
    square, orientation = _scaled(data, spec.enough, lambda *size: ((spec.size, spec.size), spec.box(*size)))
    # The crop is central, so rotating it equals rotating the image, with far fewer pixels.
    if orientation in _TRANSPOSE:
        square = square.transpose(_TRANSPOSE[orientation])
    tensor = np.asarray(square, dtype=np.float32)
    if spec.channels == "bgr":
        tensor = np.ascontiguousarray(tensor[..., ::-1])
    tensor *= np.asarray(spec.scale, dtype=np.float32)
    tensor += np.asarray(spec.offset, dtype=np.float32)
    return tensor


def render_upright(data: bytes, max_side: int) -> Image.Image:
    """The whole image upright, in RGB and without metadata, its longer side at most ``max_side`` pixels.

    Raises ImageUnreadable if the bytes cannot be decoded.
    """

    def target(width: int, height: int) -> tuple[tuple[int, int], Box]:
        scale = min(1.0, max_side / max(width, height))
        return (max(1, round(width * scale)), max(1, round(height * scale))), (0, 0, width, height)

    # The shorter side also keeps ``max_side`` pixels: of a thin image, a smaller decoding would blur the longer side.
    smaller, orientation = _scaled(data, max_side, target, reducing_gap=2.0)
    shown = smaller.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else smaller
    shown.info.clear()
    return shown


def render_jpeg(data: bytes, max_side: int) -> bytes:
    """The image as a JPEG for browsers: upright, without metadata, its longer side at most ``max_side`` pixels.

    Raises ImageUnreadable if the bytes cannot be decoded.
    """
    file = BytesIO()
    render_upright(data, max_side).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


@contextmanager
def _decoding() -> Iterator[None]:
    """Turn any decoder error into ImageUnreadable. The block must only decode, so that errors are about the bytes."""
    try:
        yield
    except (MemoryError, ImageUnreadable):
        raise
    except Exception as error:
        raise ImageUnreadable from error


def _scaled(
    data: bytes, short_side: int, target: _Target, *, reducing_gap: float | None = None
) -> tuple[Image.Image, int]:
    """The image as stored, decoded and scaled, and the orientation to apply.

    A JPEG may be decoded at a reduced size whose shorter side has ``short_side`` pixels. The memory is reserved, and is
    free again when this returns. Raises ImageUnreadable.
    """
    with _decoding():
        if data.startswith(jpeg.SIGNATURE):
            with BUDGET.reserve(jpeg.decoding_bytes(data, short_side)):
                if jpeg.needs_pillow(data):
                    return _scaled_other(data, target, reducing_gap, short_side)
                return _scaled_jpeg(data, short_side, target, reducing_gap)
        # libwebp allocates most of it when the file is opened.
        pixels = webp_pixels(data)
        early = pixels * BYTES_PER_PIXEL["WEBP"] + min(pixels, BAND_PIXELS) * BAND_BYTES
        with BUDGET.reserve(early) if pixels else nullcontext():
            return _scaled_other(data, target, reducing_gap)


def _scaled_jpeg(data: bytes, short_side: int, target: _Target, reducing_gap: float | None) -> tuple[Image.Image, int]:
    pixels = jpeg.decode(data, short_side)
    height, width, _ = pixels.shape
    profile = jpeg.icc_profile(data)
    # An image with the components of CMYK and a profile is read by Pillow.
    colours = of_profile(profile, "L" if profile and jpeg.frame(data).components == 1 else "RGB")
    if reducing_gap or (colours and colours.mode != "RGB"):
        image = Image.frombuffer("RGB", (width, height), pixels, "raw", "RGB", 0, 1)
        return _resized(image, colours, *target(width, height), reducing_gap), jpeg.orientation(data)
    scaled = resize(pixels, *target(width, height))
    return colours.to_srgb(scaled) if colours else scaled, jpeg.orientation(data)


def _scaled_other(
    data: bytes, target: _Target, reducing_gap: float | None, short_side: int = 0
) -> tuple[Image.Image, int]:
    data = readable(data)
    file = MeteredFile(data)
    with open_image(file) as image:
        orientation = orientation_of(image)
        file.reads_left = MAX_READS
        pixels = image.width * image.height
        # For a WebP or a JPEG, memory is reserved already: a second reservation could wait for the first one.
        is_reserved = image.format in {"WEBP", "JPEG"}
        needed = pixels * BYTES_PER_PIXEL.get(image.format, 0) + min(pixels, BAND_PIXELS) * BAND_BYTES
        with nullcontext() if is_reserved else BUDGET.reserve(needed):
            if short_side:
                scale = jpeg.scale_for(*image.size, short_side)
                image.draft(None, (image.width // scale, image.height // scale))
            colours = colours_of(image, data)
            select_first_frame(image)
            frame = image.tile[0].extents if image.tile else None
            image.load()
            shown = corrected(data, image, frame)
            scaled = _resized(shown, colours, *target(*shown.size), reducing_gap)
            # Frees the pixels, while leaving the block only closes the file.
            image.close()
    return scaled, orientation


def _resized(
    image: Image.Image, colours: Colours | None, size: tuple[int, int], box: Box, reducing_gap: float | None
) -> Image.Image:
    """The part of an image within ``box``, scaled to ``size``, in sRGB.

    Colours are converted after scaling, when there are fewer pixels.
    """
    if colours is None or colours.mode not in {"RGB", image.mode}:
        return _resized_as_stored(image, size, box, reducing_gap)
    if image.has_transparency_data and not DeepGrey.is_needed(image):
        # Browsers convert colours before they show them on white.
        scaled = _resized_as_stored(image, size, box, reducing_gap, mode="RGBA")
        converted = colours.to_srgb(scaled.convert("RGB"))
        return Image.composite(converted, Image.new("RGB", size, "white"), scaled.getchannel("A"))
    if colours.mode == image.mode:
        return colours.to_srgb(image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=reducing_gap))
    return colours.to_srgb(_resized_as_stored(image, size, box, reducing_gap))


def _resized_as_stored(
    image: Image.Image,
    size: tuple[int, int],
    box: Box,
    reducing_gap: float | None,
    mode: Literal["RGB", "RGBA"] = "RGB",
) -> Image.Image:
    """The part of an image within ``box``, scaled to ``size``, as RGB or RGBA whose colours are not converted.

    Other modes are converted in bands, because copies of a whole large image would take a gigabyte. Each band has all
    rows that its part of the result depends on. ``reducing_gap``: of ``Image.resize``, for RGB.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=reducing_gap)
    converted = _Converter(image, mode)
    width, height = size
    left, top, right, bottom = box
    factor = int(min((right - left) / width, (bottom - top) / height) / _LEFT_TO_SCALE)
    if factor > 1 and (bottom - top) / height * (right - left) * (2 * SUPPORT + 1) > BAND_PIXELS:
        # A band would be a large part of the image, and each pixel in several of them.
        smaller = _reduced(image, converted, factor)
        part = (left / factor, top / factor, min(right / factor, smaller.width), min(bottom / factor, smaller.height))
        return smaller.resize(size, Image.Resampling.BICUBIC, box=part)
    scale = (bottom - top) / height
    margin, columns = reach(bottom - top, height), reach(right - left, width)
    first, last = max(0, int(left - columns)), min(image.width, int(right + columns) + 1)
    rows_at_once = max(1, int(BAND_PIXELS / (last - first) / scale))
    result = Image.new(mode, size)
    for begin in range(0, height, rows_at_once):
        end = min(height, begin + rows_at_once)
        above, below = top + begin * scale, top + end * scale
        upper, lower = max(0, int(above - margin)), min(image.height, int(below + margin) + 1)
        band = converted.convert(image.crop((first, upper, last, lower)))
        part = (left - first, above - upper, right - first, min(below - upper, lower - upper))
        result.paste(band.resize((width, end - begin), Image.Resampling.BICUBIC, box=part), (0, begin))
    return result


def _reduced(image: Image.Image, converted: "_Converter", factor: int) -> Image.Image:
    """The whole image, converted, each side divided by ``factor`` and rounded up, in tiles."""
    side = max(1, int(BAND_PIXELS**0.5) // factor) * factor
    result = Image.new(converted.mode, (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, image.height, side):
        for left in range(0, image.width, side):
            box = (left, top, min(image.width, left + side), min(image.height, top + side))
            result.paste(converted.convert(image.crop(box)).reduce(factor), (left // factor, top // factor))
    return result


class _Converter:
    """Converts parts of an image to RGB or RGBA in the same way."""

    def __init__(self, image: Image.Image, mode: Literal["RGB", "RGBA"]) -> None:
        self.mode = mode
        self._deep_grey = DeepGrey(image) if DeepGrey.is_needed(image) else None

    def convert(self, part: Image.Image) -> Image.Image:
        """A part of the image; as RGB, transparent pixels on white."""
        if self._deep_grey:
            return self._deep_grey.to_rgb(part)
        if self.mode == "RGBA":
            return part.convert("RGBA")
        if part.has_transparency_data:
            # Browsers show transparent pixels on white; the colours below them were never meant to be seen.
            rgba = part.convert("RGBA")
            white = Image.new("RGBA", rgba.size, "white")
            return Image.alpha_composite(white, rgba).convert("RGB")
        return part.convert("RGB")
