"""Generates pictures, so that no test needs external files."""

from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

ORIENTATION = 0x0112

# The service registers it when it first opens an image; tests also write HEIC files.
pillow_heif.register_heif_opener()


def scene(width: int = 400, height: int = 300) -> Image.Image:
    """A smooth picture whose four quarters differ: red, green, blue and white, each fading towards black."""
    corners = np.array([[[230, 30, 30], [30, 200, 30]], [[30, 30, 220], [240, 240, 240]]], dtype=np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format_name: str, **options: Any) -> bytes:
    """The picture encoded in a format."""
    buffer = BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


@cache
def jpeg(width: int = 400, height: int = 300) -> bytes:
    """An ordinary JPEG."""
    return encoded(scene(width, height), "JPEG", quality=95)


def turned(orientation: int) -> Image.Exif:
    """EXIF data with an orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@cache
def bomb(side: int = 30_000) -> bytes:
    """A PNG of side x side pixels in a few kilobytes."""
    return encoded(Image.new("1", (side, side)), "PNG", optimize=False, compress_level=9)


def jpeg_with(marker: bytes, contents: bytes, count: int) -> bytes:
    """An ordinary JPEG with ``count`` segments of one kind in front."""
    data = jpeg()
    return data[:2] + (marker + (len(contents) + 2).to_bytes(2, "big") + contents) * count + data[2:]
