"""JPEG (ITU-T T.81): size, orientation and pixels, by libjpeg-turbo through simplejpeg. Pure functions.

Pillow is hardly slower, but accepts truncated files if their last bytes look right, and takes minutes for some hostile
headers (record 8).
"""

from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from app.domain import ImageTooLarge
from app.images.exif import SIGNATURE as EXIF_SIGNATURE
from app.images.exif import UPRIGHT, read_orientation

SIGNATURE: Final = b"\xff\xd8\xff"
MAX_SEGMENTS: Final = 5_000
MIN_SEGMENT: Final = 2
MAX_SCANS: Final = 100
"""Each scan of a progressive file is decoded separately; encoders write about ten, hostile files thousands."""
PROGRESSIVE_BYTES: Final = 9
"""Memory for each pixel of a file with several scans: coefficients of 16 bits in up to four channels, and pixels."""
PIXEL_BYTES: Final = 4
"""Memory for each pixel of other files, once it is reduced."""
MAX_SCANNED_PIXELS: Final = 10**9
"""Limit on scans times pixels, which cost about 1.5 s; ten scans of 50 megapixels are half of it."""


_END: Final = b"\xff\xd9"
_SCAN: Final = b"\xff\xda"
_FILL: Final = b"\xff\xff"
"""Any number of these may precede a marker (B.1.1.2)."""
_APP1: Final = 0xE1
_RESTARTS: Final = range(0xD0, 0xD8)
_SCALES: Final = (8, 4, 2)


def size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, as stored.

    Raises ValueError if the header cannot be read or there are too many scans; ImageTooLarge if there are too many for
    the size.
    """
    # Data after the image, such as a video appended by a phone, may also look like scans.
    likely_scans = _looking_like_scans(data)
    if likely_scans > MAX_SCANS and _scans(data) > MAX_SCANS:
        raise ValueError(f"the JPEG has more than {MAX_SCANS} scans")
    height, width, _colours, _subsampling = simplejpeg.decode_jpeg_header(data, strict=False)
    if exceeds_scanned_pixels(likely_scans, width * height):
        check_scanned_pixels(_scans(data), width, height)
    return int(width), int(height)


def exceeds_scanned_pixels(scans: float, pixels: int) -> bool:
    """Whether decoding takes too long; a single scan never does, because pixels have a limit of their own."""
    return scans > 1 and scans * pixels > MAX_SCANNED_PIXELS


def check_scanned_pixels(scans: float, width: int, height: int) -> None:
    """Raises ImageTooLarge if decoding would take too long."""
    if exceeds_scanned_pixels(scans, width * height):
        raise ImageTooLarge(
            f"The image has {width} x {height} pixels in {scans:.0f} scans, which take too long to decode: "
            "save it without progressive encoding."
        )


def scan_markers(data: bytes) -> NDArray[np.intp]:
    """Positions of what looks like the start of a scan, ascending: shape (count,)."""
    return np.flatnonzero(_looks_like_scan(data))


def _looking_like_scans(data: bytes) -> int:
    """Upper bound of the number of scans; ``bytes.count`` takes six times as long for a photograph of 100 kB."""
    return int(np.count_nonzero(_looks_like_scan(data)))


def _looks_like_scan(data: bytes) -> NDArray[np.bool_]:
    octets = np.frombuffer(data, np.uint8)
    looks: NDArray[np.bool_] = (octets[:-1] == _SCAN[0]) & (octets[1:] == _SCAN[1])
    return looks


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


def decoding_bytes(data: bytes, short_side: int) -> int:
    """Upper bound of the memory that ``decode`` takes: a file with several scans keeps all coefficients until the end.

    Raises ValueError if the header cannot be read.
    """
    height, width, _colours, _subsampling = simplejpeg.decode_jpeg_header(data, strict=False)
    if _looking_like_scans(data) > 1 and _scans(data) > 1:
        return int(width) * int(height) * PROGRESSIVE_BYTES
    return int(width) * int(height) * PIXEL_BYTES // _scale(width, height, short_side) ** 2


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
    scale = _scale(width, height, short_side)
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


def _scale(width: int, height: int, short_side: int) -> int:
    """The largest reduction at which the shorter side keeps ``short_side`` pixels."""
    return next((scale for scale in _SCALES if min(width, height) >= scale * short_side), 1)


def _decode(data: bytes, width: int, height: int, scale: int, *, strict: bool = True) -> NDArray[np.uint8]:
    # simplejpeg decodes at the smallest size that is not below the requested one.
    smallest = {"min_height": -(-height // scale), "min_width": -(-width // scale), "min_factor": scale}
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, strict=strict, **smallest)
    return pixels
