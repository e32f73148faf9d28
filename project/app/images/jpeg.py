"""JPEG (ITU-T T.81): size, orientation and pixels, by libjpeg-turbo through simplejpeg. Pure functions.

Pillow is hardly slower, but accepts truncated files if their last bytes look right, and takes minutes for some hostile
headers (record 8).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from app.domain import ImageTooLarge, NotAnImage
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
_APP2: Final = 0xE2
_ICC: Final = b"ICC_PROFILE\0"
_ICC_HEAD_BYTES: Final = len(_ICC) + 2
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of frame headers: SOF0 to SOF15, except tables."""
_FRAME_BYTES: Final = 6
_BITS: Final = 8
_COLOURS: Final = 3
_CMYK: Final = 4
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
    header = frame(data)
    if header.precision != _BITS:
        raise NotAnImage(
            reason=f"This is a JPEG with {header.precision} bits per sample: save it with 8 bits per sample."
        )
    width, height = header.width, header.height
    if exceeds_scanned_pixels(likely_scans, width * height):
        check_scanned_pixels(_scans(data), width, height)
    return width, height


def needs_pillow(data: bytes) -> bool:
    """Whether simplejpeg cannot decode it as it is: unusual sampling factors, CMYK with a profile, or a broken profile.

    Raises ValueError if the header cannot be read.
    """
    has_profile = any(marker == _APP2 and data.startswith(_ICC, begin) for marker, begin, _ in _segments(data))
    if has_profile and (frame(data).components == _CMYK or icc_profile(data) is None):
        return True
    try:
        simplejpeg.decode_jpeg_header(data, strict=False)
    except ValueError as error:
        if "subsampling" in str(error):
            return True
        raise
    return False


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
    """Positions of the bytes of a scan marker, ascending: shape (count,). Other data may contain them, too."""
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
    header = frame(data)
    if _looking_like_scans(data) > 1 and _scans(data) > 1:
        return header.width * header.height * PROGRESSIVE_BYTES
    return header.width * header.height * PIXEL_BYTES // scale_for(header.width, header.height, short_side) ** 2


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame header says: bits per sample, size in pixels, and number of components."""

    precision: int
    width: int
    height: int
    components: int


def frame(data: bytes) -> Frame:
    """The first frame header (ITU-T T.81, B.2.2). Raises ValueError if it cannot be read."""
    for marker, begin, _ in _segments(data):
        if marker in _FRAMES:
            if begin + _FRAME_BYTES > len(data):
                break
            precision, height, width, components = struct.unpack_from(">BHHB", data, begin)
            return Frame(precision, width, height, components)
    # Behind more segments than any real image has; libjpeg is faster there.
    height, width, colours, _subsampling = simplejpeg.decode_jpeg_header(data, strict=False)
    return Frame(_BITS, int(width), int(height), _CMYK if colours in {"CMYK", "YCCK"} else _COLOURS)


def icc_profile(data: bytes) -> bytes | None:
    """The ICC profile (ICC.1, B.4), which may be spread over several segments; None if there is none or parts miss."""
    parts: dict[int, bytes] = {}
    expected = 0
    for marker, begin, end in _segments(data):
        if marker == _APP2 and data.startswith(_ICC, begin) and end - begin > _ICC_HEAD_BYTES:
            number, expected = data[begin + len(_ICC)], data[begin + len(_ICC) + 1]
            parts.setdefault(number, data[begin + _ICC_HEAD_BYTES : end])
    if not parts or set(parts) != set(range(1, expected + 1)):
        return None
    return b"".join(parts[number] for number in sorted(parts))


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the contents of each segment before the first scan (ITU-T T.81, B.1.1.4)."""
    position = 2
    for _ in range(MAX_SEGMENTS):
        marker = data[position : position + 2]
        if marker[:1] != b"\xff" or position + 4 > len(data):
            return
        if marker == _FILL:
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if length < MIN_SEGMENT:
            return
        yield marker[1], position + 4, min(position + 2 + length, len(data))
        if marker == _SCAN:
            return
        position += 2 + length


def orientation(data: bytes) -> int:
    """EXIF orientation, 1..8; 1 (upright) if there is none."""
    for marker, begin, end in _segments(data):
        if marker == _APP1 and data.startswith(EXIF_SIGNATURE, begin):
            return read_orientation(data[begin:end])
    return UPRIGHT


def decode(data: bytes, short_side: int) -> NDArray[np.uint8]:
    """The pixels as stored: uint8, shape (height, width, 3), RGB.

    Decoded at 1/2, 1/4 or 1/8 (fewer DCT coefficients, a fraction of the time) if the shorter side keeps at least
    ``short_side`` pixels. Raises ValueError if the file is truncated or damaged beyond what viewers tolerate.
    """
    width, height = size(data)
    scale = scale_for(width, height, short_side)
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


def scale_for(width: int, height: int, short_side: int) -> int:
    """The largest reduction at which the shorter side keeps ``short_side`` pixels."""
    return next((scale for scale in _SCALES if min(width, height) >= scale * short_side), 1)


def _decode(data: bytes, width: int, height: int, scale: int, *, strict: bool = True) -> NDArray[np.uint8]:
    # simplejpeg decodes at the smallest size that is not below the requested one.
    smallest = {"min_height": -(-height // scale), "min_width": -(-width // scale), "min_factor": scale}
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, strict=strict, **smallest)
    return pixels
