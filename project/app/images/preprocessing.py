"""Prepares an image for a model, and renders it for people. Pure functions.

Geometry (record 4): the short side is scaled to 256 and the central 224 x 224 cropped, with EXIF orientation applied.
Both are one ``resize(box=...)`` of the visible part, so that no image shape costs more than its own pixels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.domain import ImageUnreadable
from app.images import jpeg
from app.images.formats import MAX_READS, MeteredFile, open_image, orientation_of

JPEG_QUALITY: Final = 85
SPARE: Final = 1.5

_Box = tuple[float, float, float, float]

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

    def box(self, width: int, height: int) -> _Box:
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
    with _decoding():
        image, orientation = _decoded_jpeg(data, spec.enough) if data.startswith(jpeg.SIGNATURE) else _decoded(data)
        region, box = _cut(image, spec.box(image.width, image.height))
        square = _to_rgb(region).resize((spec.size, spec.size), Image.Resampling.BICUBIC, box=box)
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
    with _decoding():
        # The shorter side also keeps ``max_side`` pixels: of a thin image, a smaller decoding would blur the longer
        # side.
        image, orientation = _decoded_jpeg(data, max_side) if data.startswith(jpeg.SIGNATURE) else _decoded(data)
        scale = min(1.0, max_side / max(image.size))
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        smaller = _to_rgb(image).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
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
    except MemoryError:
        raise
    except Exception as error:
        raise ImageUnreadable from error


def _decoded_jpeg(data: bytes, short_side: int) -> tuple[Image.Image, int]:
    """A JPEG's pixels, reduced as far as ``short_side`` allows, and the orientation to apply."""
    pixels = jpeg.decode(data, short_side)
    height, width, _ = pixels.shape
    return Image.frombuffer("RGB", (width, height), pixels, "raw", "RGB", 0, 1), jpeg.orientation(data)


def _decoded(data: bytes) -> tuple[Image.Image, int]:
    """The pixels of any other format, and the orientation to apply."""
    file = MeteredFile(data)
    with open_image(file) as image:
        orientation = orientation_of(image)
        file.reads_left = MAX_READS
        image.load()
        return image, orientation


def _cut(image: Image.Image, box: _Box) -> tuple[Image.Image, _Box]:
    """Crop to a margin around ``box``, so that only the visible part is converted; returns the moved box."""
    if image.mode == "RGB":
        return image, box
    margin = 2 + int((box[2] - box[0]) / 64)
    left, top = max(0, int(box[0]) - margin), max(0, int(box[1]) - margin)
    right, bottom = min(image.width, int(box[2]) + 1 + margin), min(image.height, int(box[3]) + 1 + margin)
    region = image.crop((left, top, right, bottom))
    return region, (box[0] - left, box[1] - top, box[2] - left, box[3] - top)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _deep_grey_to_rgb(image)
    if image.has_transparency_data:
        # Browsers show transparent pixels on white; the colours below them were never meant to be seen.
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _deep_grey_to_rgb(image: Image.Image) -> Image.Image:
    """Converts 16-bit, 32-bit and floating-point grey; ``convert("RGB")`` would clip it to white."""
    grey = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0, neginf=0)
    if image.mode.startswith("I;16") or (image.mode == "I" and 255 < grey.max(initial=0) <= 65535):
        low, high = 0.0, 65535.0
    elif image.mode == "F" and grey.min(initial=0) >= 0 and grey.max(initial=0) <= 1:
        low, high = 0.0, 1.0
    else:
        low, high = min(0.0, float(grey.min(initial=0))), max(255.0, float(grey.max(initial=0)))
    scaled = ((grey - low) * (255 / (high - low))).round().astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")
