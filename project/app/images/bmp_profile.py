"""The ICC profile within a BMP (BITMAPV5HEADER)."""

import struct
from typing import Final

_HEADER_AT: Final = 14
_V5_BYTES: Final = 124
_EMBEDDED: Final = b"DEBM"
_SPACE_AT, _PLACE_AT = 70, 126


def profile_span(data: bytes) -> tuple[int, int] | None:
    """Start and end of the profile; None if there is none."""
    if len(data) < _HEADER_AT + _V5_BYTES or not data.startswith(b"BM"):
        return None
    (size,) = struct.unpack_from("<L", data, _HEADER_AT)
    if size < _V5_BYTES or data[_SPACE_AT : _SPACE_AT + 4] != _EMBEDDED:
        return None
    place, length = struct.unpack_from("<LL", data, _PLACE_AT)
    begin = _HEADER_AT + place
    return (begin, begin + length) if length and begin + length <= len(data) else None
