"""From bytes to tensor: what an image is, and what a model sees of it. Pure functions.

Geometry (``docs/decisions/0004-preprocessing.md``): the short side is scaled to 256 and the central 224 x 224 is cut
out, with EXIF orientation applied; done as one ``resize(box=...)`` of the part that is kept, so that no shape of
picture costs more than its own pixels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from app.domain import ImageInfo, ImageTooLarge, ImageUnreadable, NotAnImage

# Our own limit is checked before anything is decoded; Pillow's would only warn, or refuse what a setting allows.
Image.MAX_IMAGE_PIXELS = None
pillow_heif.register_heif_opener()

FORMATS: Final[dict[str | None, tuple[str, str]]] = {
    JpegImagePlugin.JpegImageFile.format: ("image/jpeg", "jpg"),
    # Several JPEGs in one file (phones): the first is the picture, and every JPEG reader shows it.
    MpoImagePlugin.MpoImageFile.format: ("image/jpeg", "jpg"),
    PngImagePlugin.PngImageFile.format: ("image/png", "png"),
    WebPImagePlugin.WebPImageFile.format: ("image/webp", "webp"),
    GifImagePlugin.GifImageFile.format: ("image/gif", "gif"),
    BmpImagePlugin.BmpImageFile.format: ("image/bmp", "bmp"),
    TiffImagePlugin.TiffImageFile.format: ("image/tiff", "tiff"),
    AvifImagePlugin.AvifImageFile.format: ("image/avif", "avif"),
    pillow_heif.HeifImageFile.format: ("image/heic", "heic"),
}
"""Pillow's name of each accepted format, its media type and the ending of its files."""

# Named, not all of Pillow's forty: every reader is a door. (The JPEG reader finds out by itself that a file is MPO.)
_READERS: Final = [name for name in FORMATS if name and name != MpoImagePlugin.MpoImageFile.format]

_TRANSPOSE: Final[dict[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What shows an image upright, by its EXIF orientation (CIPA DC-008, tag 0x0112)."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model expects: the central ``size`` of ``short_side`` pixels, normalised as ``x * scale + offset``."""

    size: int = 224
    short_side: int = 256
    scale: float = 1 / 127.5
    offset: float = -1.0


def inspect(data: bytes, max_pixels: int) -> ImageInfo:
    """Tell format and size from the header alone; nothing is decoded.

    Raises NotAnImage where the bytes are no supported image, ImageTooLarge above ``max_pixels``.
    """
    try:
        with Image.open(BytesIO(data), formats=_READERS) as image:
            width, height = image.size
            content_type, extension = FORMATS[image.format]
            turned = _orientation(image) >= 5
    except Exception as error:
        # Pillow's readers answer broken headers with many kinds of exception; each of them says the same of the bytes.
        raise NotAnImage from error
    if width <= 0 or height <= 0:
        raise NotAnImage
    if width * height > max_pixels:
        raise ImageTooLarge(f"The image has {width} x {height} pixels; at most {max_pixels} are accepted.")
    return ImageInfo(content_type, extension, *((height, width) if turned else (width, height)))


def to_tensor(data: bytes, spec: InputSpec = InputSpec()) -> NDArray[np.float32]:
    """Decode an image and cut out what the model looks at.

    Returns float32 of shape (size, size, 3), RGB, normalised as ``spec`` says (-1..1 by default).
    Raises ImageUnreadable where the bytes cannot be decoded.
    """
    with _unreadable(), Image.open(BytesIO(data), formats=_READERS) as image:
        # A JPEG is decoded at 1/2, 1/4 or 1/8 where that still leaves more pixels than are needed.
        image.draft(None, (spec.short_side, spec.short_side))
        orientation = _orientation(image)
        image.load()
        kept = _central_square(image.width, image.height, spec.size / spec.short_side)
        region, box = _cut(image, kept)
        square = _to_rgb(region).resize((spec.size, spec.size), Image.Resampling.BICUBIC, box=box)
    # The square is central, so turning it is turning the picture, at a fraction of the pixels.
    if orientation in _TRANSPOSE:
        square = square.transpose(_TRANSPOSE[orientation])
    tensor = np.asarray(square, dtype=np.float32)
    tensor *= np.float32(spec.scale)
    tensor += np.float32(spec.offset)
    return tensor


_Box = tuple[float, float, float, float]


@contextmanager
def _unreadable() -> Iterator[None]:
    """Turn whatever a decoder raises into ImageUnreadable: only decoding stands inside, so it speaks of the bytes."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise ImageUnreadable from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8, that is still to be applied to the pixels."""
    if image.format in {"TIFF", "HEIF"}:
        # Pillow and libheif turn these while they decode.
        return 1
    if image.format == "PNG" and "exif" not in image.info:
        # Asking Pillow would decode the whole picture, in search of a block behind the pixels.
        return 1
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in _TRANSPOSE else 1


def _central_square(width: int, height: int, part: float) -> _Box:
    """The central square whose side is ``part`` of the short side, in (fractions of) pixels."""
    side = min(width, height) * part
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _cut(image: Image.Image, box: _Box) -> tuple[Image.Image, _Box]:
    """Drop what lies far outside ``box``, so that only what is looked at is converted; the box moves along."""
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
        # Browsers show transparent pixels on the page's white; what lies beneath them was never meant to be seen.
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _deep_grey_to_rgb(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating-point grey; ``convert("RGB")`` would clip them to white."""
    grey = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0, neginf=0)
    if image.mode.startswith("I;16") or (image.mode == "I" and 255 < grey.max(initial=0) <= 65535):
        low, high = 0.0, 65535.0
    elif image.mode == "F" and grey.min(initial=0) >= 0 and grey.max(initial=0) <= 1:
        low, high = 0.0, 1.0
    else:
        low, high = min(0.0, float(grey.min(initial=0))), max(255.0, float(grey.max(initial=0)))
    scaled = ((grey - low) * (255 / (high - low))).round().astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")
