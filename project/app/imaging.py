"""From bytes to tensor: what an image is, and what a model sees of it. Pure functions.

Geometry (``docs/decisions/0004-preprocessing.md``): the short side is scaled to 256 and the central 224 x 224 is cut
out, with EXIF orientation applied; done as one ``resize(box=...)`` of the part that is kept, so that no shape of
image costs more than its own pixels.
"""

import struct
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
    # Several JPEGs in one file (phones): the first is the image, and every JPEG reader shows it.
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

MOST_HEADER_READS: Final = 5_000
MOST_READS: Final = 200_000
MOST_TIMES_READ: Final = 4
"""How often each byte of a file may be read on average: once is usual, hostile files point at the same bytes often."""

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


class _MeteredFile(BytesIO):
    """An image file of which only so much can be read.

    Pillow's readers take a million tiny blocks one by one, some in quadratic time; no image is made that way.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._bytes_left = MOST_TIMES_READ * len(data) + 4096
        self.reads_left = MOST_HEADER_READS

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self._bytes_left -= len(found)
        self.reads_left -= 1
        if self._bytes_left < 0 or self.reads_left < 0:
            raise OSError("the file is made of too many blocks")
        return found


def inspect(data: bytes, max_pixels: int) -> ImageInfo:
    """Tell format and size from the header alone; nothing is decoded.

    Raises NotAnImage where the bytes are no supported image, ImageTooLarge above ``max_pixels``.
    """
    try:
        data, orientation = _without_jpeg_exif(data)
        with Image.open(_MeteredFile(data), formats=_READERS) as image:
            width, height = image.size
            content_type, extension = FORMATS[image.format]
            turned = (orientation or _orientation(image)) >= 5
    except MemoryError:
        raise
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
    data, orientation = _without_jpeg_exif(data)
    file = _MeteredFile(data)
    with _unreadable(), Image.open(file, formats=_READERS) as image:
        # A JPEG is decoded at 1/2, 1/4 or 1/8 where that still leaves more pixels than are needed.
        image.draft(None, (spec.short_side, spec.short_side))
        orientation = orientation or _orientation(image)
        file.reads_left = MOST_READS
        image.load()
        kept = _central_square(image.width, image.height, spec.size / spec.short_side)
        region, box = _cut(image, kept)
        square = _to_rgb(region).resize((spec.size, spec.size), Image.Resampling.BICUBIC, box=box)
    # The square is central, so turning it is turning the image, at a fraction of the pixels.
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


_EXIF: Final = b"Exif\0\0"
_JPEG_SCAN, _JPEG_APP1, _JPEG_APP15 = 0xDA, 0xE1, 0xEF


def _without_jpeg_exif(data: bytes) -> tuple[bytes, int | None]:
    """A JPEG with its EXIF blocks renamed, so that Pillow skips them, and the orientation they gave; None without one.

    Pillow reads all of EXIF to find the resolution, and joins several blocks in quadratic time; a file of a few
    megabytes can keep it busy for minutes.
    """
    if data[:2] != b"\xff\xd8":
        return data, None
    renamed: bytearray | None = None
    orientation: int | None = None
    position = 2
    # Marker, length (which counts itself), contents: ITU-T T.81, B.1.1.4. A file with more is refused by the meter.
    for _ in range(MOST_HEADER_READS):
        if data[position : position + 1] != b"\xff" or position + 4 > len(data):
            break
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _JPEG_SCAN or length < 2:
            break
        if marker == _JPEG_APP1 and data.startswith(_EXIF, position + 4):
            orientation = orientation or _exif_orientation(data[position + 4 : position + 2 + length])
            renamed = renamed or bytearray(data)
            renamed[position + 1] = _JPEG_APP15
        position += 2 + length
    return (bytes(renamed) if renamed else data), orientation


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8, that is still to be applied to the pixels."""
    if image.format in {"TIFF", "HEIF"}:
        # Pillow and libheif turn these while they decode.
        return 1
    return _exif_orientation(image.info.get("exif", b""))


def _exif_orientation(exif: bytes) -> int:
    """The orientation in an EXIF block (CIPA DC-008, 4.6: a TIFF directory of 12-byte entries); 1 without one."""
    tiff = exif.removeprefix(_EXIF)
    order = ">" if tiff[:2] == b"MM" else "<"
    try:
        (directory,) = struct.unpack_from(f"{order}L", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(entries):
            tag, _kind, _count, value = struct.unpack_from(f"{order}HHLH", tiff, directory + 2 + 12 * entry)
            if tag == 0x0112:
                return value if value in _TRANSPOSE else 1
    except struct.error:
        return 1
    return 1


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
