"""Opens image files with Pillow: only the accepted formats, and a bounded number of reads."""

from functools import cache
from io import BytesIO
from typing import Final

import numpy as np
import pillow_heif
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from app.images import bmp_masks, jpeg
from app.images.bmp_profile import profile_span
from app.images.colour import Colours, Pixels, of_heif, of_png, of_profile
from app.images.exif import read_orientation

FORMATS: Final[dict[str | None, tuple[str, str]]] = {
    PngImagePlugin.PngImageFile.format: ("image/png", "png"),
    WebPImagePlugin.WebPImageFile.format: ("image/webp", "webp"),
    GifImagePlugin.GifImageFile.format: ("image/gif", "gif"),
    BmpImagePlugin.BmpImageFile.format: ("image/bmp", "bmp"),
    TiffImagePlugin.TiffImageFile.format: ("image/tiff", "tiff"),
    AvifImagePlugin.AvifImageFile.format: ("image/avif", "avif"),
    pillow_heif.HeifImageFile.format: ("image/heic", "heic"),
}
"""Pillow's name of each accepted format, with media type and extension. JPEG is handled by ``jpeg.py``."""

# Only these of Pillow's forty readers: each one adds attack surface.
_READERS: Final = [name for name in FORMATS if name]


_MASKED_BMP: Final = "BMP_MASKS"
_HEAD_BYTES: Final = 128
_GREY: Final = frozenset(("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"))
"""Modes of grey pixels."""
_WEBP_HEADER: Final = 30
_14_BITS: Final = 2**14 - 1
_COMPRESSION: Final = TiffImagePlugin.COMPRESSION
_JPEG_IN_TIFF: Final = frozenset((6, 7))
"""Values of the compression tag: old and new style (TIFF Technical Note 2)."""


@cache
def _configure_pillow() -> None:
    # Our own limit is checked before decoding; Pillow's would only warn, or reject what a setting allows.
    Image.MAX_IMAGE_PIXELS = None
    pillow_heif.register_heif_opener()
    Image.register_open(_MASKED_BMP, bmp_masks.MaskedBmpFile)
    Image.register_decoder(bmp_masks.DECODER, bmp_masks.MaskDecoder)


def open_image(file: BytesIO) -> ImageFile.ImageFile:
    """Read the header of an image file in an accepted format. Raises what Pillow's readers raise, of many kinds."""
    _configure_pillow()
    head = bytes(file.getbuffer()[:_HEAD_BYTES])
    if head.startswith(jpeg.SIGNATURE):
        readers = ["JPEG"]
    elif bmp_masks.layout_of(head):
        readers = [_MASKED_BMP]
    else:
        readers = _READERS
    return Image.open(file, formats=readers)


def orientation_of(image: ImageFile.ImageFile) -> int:
    """EXIF orientation, 1..8, that remains to be applied to the pixels."""
    if image.format in {"TIFF", "HEIF"}:
        # Pillow and libheif rotate these during decoding.
        return 1
    return read_orientation(image.info.get("exif", b""))


def colours_of(image: ImageFile.ImageFile, data: bytes) -> Colours | None:
    """What an open image file says about its colours; None if they are sRGB's."""
    profile = image.info.get("icc_profile")
    pixels: Pixels = "CMYK" if image.mode == "CMYK" else "L" if image.mode in _GREY else "RGB"
    if image.format == "PNG":
        return of_png(data, profile, pixels)
    if image.format in {"AVIF", "HEIF"}:
        return of_heif(data, profile, pixels)
    if image.format == "BMP" and (span := profile_span(data)):
        profile = data[slice(*span)]
    return of_profile(profile, pixels)


def webp_pixels(data: bytes) -> int:
    """Pixels of a WebP's canvas, from its first chunk (RFC 9649, 2.5 to 2.7); 0 for other files."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < _WEBP_HEADER:
        return 0
    match data[12:16]:
        case b"VP8X":
            return (1 + int.from_bytes(data[24:27], "little")) * (1 + int.from_bytes(data[27:30], "little"))
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return (1 + (bits & _14_BITS)) * (1 + (bits >> 14 & _14_BITS))
        case b"VP8 ":
            return (int.from_bytes(data[26:28], "little") & _14_BITS) * (
                int.from_bytes(data[28:30], "little") & _14_BITS
            )
    return 0


def jpeg_scans_in_tiff(data: bytes, image: ImageFile.ImageFile) -> float:
    """Largest number of scans of a strip or tile of a TIFF that contains JPEGs; 0 for other files."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.tag_v2.get(_COMPRESSION) not in _JPEG_IN_TIFF:
        return 0
    offsets, sizes = (
        (TiffImagePlugin.TILEOFFSETS, TiffImagePlugin.TILEBYTECOUNTS)
        if TiffImagePlugin.TILEOFFSETS in image.tag_v2
        else (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.STRIPBYTECOUNTS)
    )
    begins = np.asarray(image.tag_v2[offsets], np.int64)
    scans = jpeg.scan_markers(data)
    counts = np.searchsorted(scans, begins + np.asarray(image.tag_v2[sizes], np.int64)) - np.searchsorted(scans, begins)
    return float(counts.max())
