"""Removes metadata such as place, time, camera and author from image files. Pure functions.

Pixels are not decoded and stay unchanged; so do colour profile, orientation and transparency. A file that cannot be
parsed is cut off at that point.
"""

from collections.abc import Callable
from typing import Final

from app.images.metadata import bmp, gif, isobmff, jpeg, png, tiff, webp

_STRIPPERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "image/jpeg": jpeg.strip_metadata,
    "image/bmp": bmp.strip_metadata,
    "image/png": png.strip_metadata,
    "image/webp": webp.strip_metadata,
    "image/gif": gif.strip_metadata,
    "image/tiff": tiff.strip_metadata,
    "image/heic": isobmff.strip_metadata,
    "image/avif": isobmff.strip_metadata,
}


def strip_metadata(data: bytes, content_type: str) -> bytes:
    """The file of an image without its metadata.

    Raises ValueError if it has more segments than any real image.
    """
    return _STRIPPERS[content_type](data)
