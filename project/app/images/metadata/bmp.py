"""BMP files (BITMAPFILEHEADER and BITMAPINFOHEADER): removes data before and after the pixels, but no profile."""

import struct
from typing import Final

from app.images.bmp_profile import profile_span

_FILE_HEAD_BYTES: Final = 14
_CORE_HEAD_BYTES: Final = 12
_UNCOMPRESSED: Final = (0, 3, 6)
"""Compressions that store raw pixels: none, and colour masks."""
_MASK_BYTES: Final = 16
_WITH_PALETTE: Final = 8
"""Bits per pixel up to which pixels are palette indices."""


def strip_metadata(data: bytes) -> bytes:
    """Headers, palette and pixels."""
    try:
        (offset, head_bytes) = struct.unpack_from("<LL", data, 10)
        if head_bytes == _CORE_HEAD_BYTES:
            width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
            compression, size, colours, colour_bytes = 0, 0, 0, 3
        else:
            width, height, _, bits, compression, size = struct.unpack_from("<iiHHLL", data, 18)
            (colours,) = struct.unpack_from("<L", data, 46)
            colour_bytes = 4
    except struct.error:
        return data
    palette = (colours or 2**bits) * colour_bytes if bits <= _WITH_PALETTE else colours * colour_bytes
    before = min(offset, _FILE_HEAD_BYTES + head_bytes + _MASK_BYTES * (compression in _UNCOMPRESSED[1:]) + palette)
    pixels = (abs(width) * bits + 31) // 32 * 4 * abs(height) if compression in _UNCOMPRESSED else size
    end = offset + pixels if pixels else len(data)
    bare = data[:before] + bytes(min(offset, len(data)) - min(before, len(data))) + data[offset:end]
    return _with_profile(bare, data)


def _with_profile(bare: bytes, data: bytes) -> bytes:
    """Put back the ICC profile, which is a part of the image, at its place."""
    span = profile_span(data)
    if span is None:
        return bare
    begin, end = span
    # A profile within the pixels is none.
    if begin >= len(bare):
        return bare.ljust(begin, b"\0") + data[begin:end]
    return bare if any(bare[begin:end]) else bare[:begin] + data[begin:end] + bare[end:]
