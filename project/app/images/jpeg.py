"""JPEG (ITU-T T.81): size, orientation and pixels, by libjpeg-turbo through simplejpeg. Pure functions.

Pillow is hardly slower, but accepts truncated files if their last bytes look right, and takes minutes for some hostile
headers (record 8).
"""

from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from app.images.exif import SIGNATURE as EXIF_SIGNATURE
from app.images.exif import UPRIGHT, read_orientation

SIGNATURE: Final = b"\xff\xd8\xff"
MAX_SEGMENTS: Final = 5_000
MIN_SEGMENT: Final = 2
MAX_SCANS: Final = 100
"""Each scan of a progressive file is decoded separately; encoders write about ten, hostile files thousands."""


_END: Final = b"\xff\xd9"
_SCAN: Final = b"\xff\xda"
_FILL: Final = b"\xff\xff"
"""Any number of these may precede a marker (B.1.1.2)."""
_APP1: Final = 0xE1
_RESTARTS: Final = range(0xD0, 0xD8)
_SCALES: Final = (8, 4, 2)


def size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, as stored. Raises ValueError if the header cannot be read."""
    # Data after the image, such as a video appended by a phone, may also look like scans.
    if _looking_like_scans(data) > MAX_SCANS and _scans(data) > MAX_SCANS:
        raise ValueError(f"the JPEG has more than {MAX_SCANS} scans")
    height, width, _colours, _subsampling = simplejpeg.decode_jpeg_header(data, strict=False)
    return int(width), int(height)


def _looking_like_scans(data: bytes) -> int:
    """Upper bound of the number of scans; ``bytes.count`` takes six times as long for a photograph of 100 kB."""
    octets = np.frombuffer(data, np.uint8)
    return int(np.count_nonzero((octets[:-1] == _SCAN[0]) & (octets[1:] == _SCAN[1])))


def _scans(data: bytes) -> int:
    """Number of scans before the image's end; where it cannot be parsed, an upper bound for the rest."""
    octets = np.frombuffer(data, np.uint8)
    after = octets[1:]
    # Within a scan, 0xFF is followed by zero or a restart number: anything else is a marker (B.1.1.2, B.1.1.5).
    restart = (after >= _RESTARTS.start) & (after < _RESTARTS.stop)
    markers = np.flatnonzero((octets[:-1] == _SCAN[0]) & (after > 0) & (after < 0xFF) & ~restart)  # noqa: PLR2004
    position, scans = 2, 0
    while scans <= MAX_SCANS:
        marker = data[position : position + 2]
        if marker == _END:
            return scans
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker[:1] != b"\xff" or length < MIN_SEGMENT:
            return scans + _looking_like_scans(data[position:])
        position += 2 + length
        if marker == _SCAN:
            scans += 1
            following = int(np.searchsorted(markers, position))
            if following == len(markers):
                return scans
            position = int(markers[following])
    return scans


def orientation(data: bytes) -> int:
    """EXIF orientation, 1..8; 1 (upright) if there is none."""
    position = 2
    # Marker, length (including itself), contents: ITU-T T.81, B.1.1.4.
    for _ in range(MAX_SEGMENTS):
        marker = data[position : position + 2]
        if marker[:1] != b"\xff" or marker == _SCAN or position + 4 > len(data):
            break
        if marker == _FILL:
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if length < MIN_SEGMENT:
            break
        if marker[1] == _APP1 and data.startswith(EXIF_SIGNATURE, position + 4):
            return read_orientation(data[position + 4 : position + 2 + length])
        position += 2 + length
    return UPRIGHT


def decode(data: bytes, short_side: int) -> NDArray[np.uint8]:
    """The pixels as stored: uint8, shape (height, width, 3), RGB.

    Decoded at 1/2, 1/4 or 1/8 (fewer DCT coefficients, a fraction of the time) if the shorter side keeps at least
    ``short_side`` pixels. Raises ValueError if the file is truncated or damaged beyond what viewers tolerate.
    """
    width, height = size(data)
    scale = next((scale for scale in _SCALES if min(width, height) >= scale * short_side), 1)
    try:
        return _decode(data, width, height, scale)
    except ValueError as error:
        message = str(error)
    if "Premature end of JPEG file" in message:
        # Possibly only the end marker is missing. If more is, decoding now reports the missing rows.
        return _decode(data + _END, width, height, scale)
    if "premature end of data" in message:
        raise ValueError(message)
    # The rest are warnings about images that every viewer shows, such as stray bytes before a marker.
    return _decode(data, width, height, scale, strict=False)


def _decode(data: bytes, width: int, height: int, scale: int, *, strict: bool = True) -> NDArray[np.uint8]:
    # simplejpeg decodes at the smallest size that is not below the requested one.
    smallest = {"min_height": -(-height // scale), "min_width": -(-width // scale), "min_factor": scale}
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, strict=strict, **smallest)
    return pixels
