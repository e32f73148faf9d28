"""Colour management: what an image says about its colours, and how to convert it to sRGB.

Models were trained on sRGB, and renditions have no profile. Images that are sRGB or say nothing are left alone.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from typing import Final, Literal

import numpy as np
from PIL import Image, ImageCms

from app.images.boxes import primary_properties
from app.images.cicp import USUAL_NITS, CodePoints, encode_srgb, matrix_to_srgb

Conversion = Callable[[Image.Image], Image.Image]
"""From an image, in the mode that ``Colours`` names, to RGB in sRGB."""
Pixels = Literal["RGB", "L", "CMYK"]
"""What an image's pixels are, whatever else they have: colours, grey, or inks."""

MAX_PROFILE_BYTES: Final = 8 * 2**20
"""Profiles of printing presses have up to 3 MB."""
CACHED: Final = 64
_FULL_RANGE_RGB: Final = b"\0\1"
"""The end of a ``cICP``: no matrix, and the full range."""
_COLOUR_CHUNKS: Final = frozenset((b"cICP", b"sRGB", b"gAMA", b"cHRM", b"cLLI", b"mDCV"))
_NITS: Final = 0.0001
"""The unit of luminance in PNGs."""
_UNNOTICEABLE: Final = 2
"""Difference, in levels of 8 bits, up to which a profile counts as sRGB."""
_GRID_STEPS: Final = 9
_MODES: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_SPACE_AT: Final = 16
"""The colour space in a profile's header (ICC.1, 7.2.6)."""
_MATCHING: Final = frozenset((("RGB", "RGB"), ("RGB", "L"), ("L", "L"), ("CMYK", "CMYK")))
"""Spaces of profiles, and pixels to which they apply."""
_SRGB_GAMMA: Final = 45_455
_GAMMA_TOLERANCE: Final = 0.05
"""Relative difference to sRGB's gamma up to which browsers ignore ``gAMA``."""


class Colours:
    """How to convert an image's pixels. ``mode``: of the pixels that are converted, RGB or CMYK."""

    def __init__(self, mode: str, to_srgb: Conversion) -> None:
        self.mode = mode
        self.to_srgb = to_srgb


def of_profile(profile: bytes | None, pixels: Pixels) -> Colours | None:
    """The conversion of an ICC profile; None if the image is to be taken for sRGB.

    A profile for other pixels than those of the image is ignored, as in browsers: grey colours, CMYK in RGB.
    """
    if not profile or len(profile) > MAX_PROFILE_BYTES:
        return None
    space = _MODES.get(profile[_SPACE_AT : _SPACE_AT + 4].decode("latin-1").strip())
    if space is None or (space, pixels) not in _MATCHING:
        return None
    return _of_profile(hashlib.sha256(profile).digest(), _Hidden(profile))


class _Hidden:
    """A value that does not count as a part of a cache's key."""

    def __init__(self, value: bytes) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden)

    def __hash__(self) -> int:
        return 0


@lru_cache(CACHED)
def _of_profile(_digest: bytes, profile: _Hidden) -> Colours | None:
    with suppress(ImageCms.PyCMSError, OSError, ValueError):
        source = ImageCms.ImageCmsProfile(BytesIO(profile.value))
        mode = _MODES.get(str(source.profile.xcolor_space).strip())
        if mode is None:
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.PERCEPTUAL,
            # A cache would be shared by threads.
            ImageCms.Flags.NOCACHE | ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )

        def convert(image: Image.Image) -> Image.Image:
            # A grey image is RGB by now, with three equal channels.
            matching = image.getchannel(0) if mode == "L" else image
            converted = ImageCms.applyTransform(matching, transform)
            assert converted is not None
            return converted

        if mode == "CMYK":
            return Colours("CMYK", convert)
        return None if _is_unnoticeable(convert, grey=mode == "L") else Colours("RGB", convert)
    return None


def _is_unnoticeable(convert: Conversion, *, grey: bool) -> bool:
    steps = np.linspace(0, 255, _GRID_STEPS).round().astype(np.uint8)
    values = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    if grey:
        values = np.repeat(np.arange(256, dtype=np.uint8)[np.newaxis, :, np.newaxis], 3, axis=2)
    converted = np.asarray(convert(Image.fromarray(values)), dtype=int)
    return int(np.abs(converted - values).max()) <= _UNNOTICEABLE


def of_png(data: bytes, profile: bytes | None, pixels: Pixels) -> Colours | None:
    """The conversion of a PNG, by the first of ``cICP``, ``iCCP``, ``sRGB``, and ``gAMA`` with ``cHRM`` (PNG, 4.3).

    As browsers do, ignores ``cICP`` with unknown codes or a narrow range, and ``cHRM`` alone.
    """
    chunks = _colour_chunks(data)
    if (cicp := chunks.get(b"cICP")) and len(cicp) == 4 and cicp[2:] == _FULL_RANGE_RGB:  # noqa: PLR2004 - its size
        points = CodePoints(cicp[0], cicp[1], _brightest_nits(chunks), is_exact=True)
        if points.is_known:
            return _of_points(points)
    if profile:
        return of_profile(profile, pixels)
    if b"sRGB" in chunks:
        return None
    gamma = struct.unpack(">L", chunks[b"gAMA"])[0] if len(chunks.get(b"gAMA", b"")) == 4 else 0  # noqa: PLR2004
    places = struct.unpack(">8L", chunks[b"cHRM"]) if len(chunks.get(b"cHRM", b"")) == 32 else None  # noqa: PLR2004
    return _of_gamma(gamma, places) if gamma else None


def _brightest_nits(chunks: dict[bytes, bytes]) -> float:
    """The luminance of the brightest pixel, or else of the display for which the image was made (PNG 3, 11.3.2)."""
    if len(level := chunks.get(b"cLLI", b"")) == 8 and any(level[:4]):  # noqa: PLR2004 - its size
        return int.from_bytes(level[:4], "big") * _NITS
    if len(display := chunks.get(b"mDCV", b"")) == 24 and any(display[16:20]):  # noqa: PLR2004
        return int.from_bytes(display[16:20], "big") * _NITS
    return USUAL_NITS


def _colour_chunks(data: bytes) -> dict[bytes, bytes]:
    """Contents of the chunks about colours, which come before the pixels."""
    found: dict[bytes, bytes] = {}
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, position)
        if kind == b"IDAT":
            break
        contents = data[position + 8 : position + 8 + length]
        if kind in _COLOUR_CHUNKS and length <= 32:  # noqa: PLR2004 - the longest has 32 bytes
            (checksum,) = struct.unpack_from(">L", data.ljust(position + 12 + length), position + 8 + length)
            if checksum == zlib.crc32(kind + contents):
                found.setdefault(kind, contents)
        position += 12 + length
    return found


@lru_cache(CACHED)
def _of_gamma(gamma: int, places: tuple[int, ...] | None) -> Colours | None:
    is_srgb_gamma = not gamma or abs(gamma / _SRGB_GAMMA - 1) <= _GAMMA_TOLERANCE
    matrix = np.eye(3, dtype=np.float32)
    if places:
        white, red, green, blue = (
            (places[index] / 100_000, places[index + 1] / 100_000) for index in range(0, len(places), 2)
        )
        with suppress(ValueError):
            matrix = matrix_to_srgb(red, green, blue, white)
    if is_srgb_gamma and np.abs(matrix - np.eye(3)).max() < 0.02:  # noqa: PLR2004 - rounding of the chunk
        return None
    linear = (np.arange(256) / 255) ** (100_000 / (gamma or _SRGB_GAMMA))

    def convert(image: Image.Image) -> Image.Image:
        return Image.fromarray(encode_srgb(linear.astype(np.float32)[np.asarray(image)] @ matrix.T))

    return Colours("RGB", convert)


def of_code_points(primaries: int, transfer: int, brightest_nits: float = USUAL_NITS) -> Colours | None:
    """The conversion by code points (ITU-T H.273)."""
    return _of_points(CodePoints(primaries, transfer, brightest_nits))


@lru_cache(CACHED)
def _of_points(points: CodePoints) -> Colours | None:
    return None if points.is_srgb else Colours("RGB", points.to_srgb)


def of_heif(data: bytes, profile: bytes | None, pixels: Pixels) -> Colours | None:
    """The conversion of a HEIC or AVIF file, by its ICC profile or its code points (14496-12, 12.1.5: ``colr``)."""
    if profile:
        return of_profile(profile, pixels)
    for begin, end in primary_properties(data, b"colr"):
        if data[begin : begin + 4] == b"nclx" and end - begin >= 10:  # noqa: PLR2004 - type and three numbers
            levels = [data[place : place + 2] for place, _ in primary_properties(data, b"clli")]
            brightest = int.from_bytes(levels[0], "big") if levels else 0
            primaries, transfer = struct.unpack_from(">HH", data, begin + 4)
            return of_code_points(primaries, transfer, brightest or USUAL_NITS)
    return None
