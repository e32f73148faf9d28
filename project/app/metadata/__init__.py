"""Removes metadata such as place, time, camera and author from image files. Pure functions.

Pixels are not decoded and stay unchanged; so do colour profile, orientation and transparency. A file that cannot be
parsed is cut off at that point.
"""

from collections.abc import Callable
from typing import Final

from app.metadata import bmp, gif, isobmff, jpeg, png, tiff, webp

_WITHOUT: Final[dict[str, Callable[[bytes], bytes]]] = {
    "image/jpeg": jpeg.without_metadata,
    "image/bmp": bmp.without_metadata,
    "image/png": png.without_metadata,
    "image/webp": webp.without_metadata,
    "image/gif": gif.without_metadata,
    "image/tiff": tiff.without_metadata,
    "image/heic": isobmff.without_metadata,
    "image/avif": isobmff.without_metadata,
}


def without_metadata(data: bytes, content_type: str) -> bytes:
    """The file of an image without its metadata.

    Raises ValueError if it has more segments than any real image.
    """
    return _WITHOUT[content_type](data) if content_type in _WITHOUT else data
