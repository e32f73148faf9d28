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
from typing import Final

import numpy as np
from PIL import Image, ImageCms

from app.images.boxes import find_boxes
from app.images.cicp import CodePoints, encode_srgb, matrix_to_srgb

Conversion = Callable[[Image.Image], Image.Image]
"""From an image, in the mode that ``Colours`` names, to RGB in sRGB."""

MAX_PROFILE_BYTES: Final = 8 * 2**20
"""Profiles of printing presses have up to 3 MB."""
CACHED: Final = 64
_UNNOTICEABLE: Final = 2
"""Difference, in levels of 8 bits, up to which a profile counts as sRGB."""
_GRID_STEPS: Final = 9
_MODES: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_SRGB_GAMMA: Final = 45_455
_GAMMA_TOLERANCE: Final = 0.05
"""Relative difference to sRGB's gamma up to which browsers ignore ``gAMA``."""


class Colours:
    """How to convert an image's pixels. ``mode``: of the pixels that are converted, RGB or CMYK."""

    def __init__(self, mode: str, to_srgb: Conversion) -> None:
        self.mode = mode
        self.to_srgb = to_srgb


def of_profile(profile: bytes | None) -> Colours | None:
    """The conversion of an ICC profile; None if the image is to be taken for sRGB."""
    if not profile or len(profile) > MAX_PROFILE_BYTES:
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


def of_png(data: bytes, profile: bytes | None) -> Colours | None:
    """The conversion of a PNG, by the first of ``cICP``, ``iCCP``, ``sRGB``, and ``gAMA`` with ``cHRM`` (PNG, 4.3)."""
    chunks = _colour_chunks(data)
    if (cicp := chunks.get(b"cICP")) and len(cicp) == 4:  # noqa: PLR2004 - its size
        return of_code_points(cicp[0], cicp[1])
    if profile:
        return of_profile(profile)
    if b"sRGB" in chunks:
        return None
    gamma = struct.unpack(">L", chunks[b"gAMA"])[0] if len(chunks.get(b"gAMA", b"")) == 4 else 0  # noqa: PLR2004
    places = struct.unpack(">8L", chunks[b"cHRM"]) if len(chunks.get(b"cHRM", b"")) == 32 else None  # noqa: PLR2004
    return _of_gamma(gamma, places)


def _colour_chunks(data: bytes) -> dict[bytes, bytes]:
    """Contents of the chunks about colours, which come before the pixels."""
    found: dict[bytes, bytes] = {}
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, position)
        if kind == b"IDAT":
            break
        contents = data[position + 8 : position + 8 + length]
        if kind in {b"cICP", b"sRGB", b"gAMA", b"cHRM"} and length <= 32:  # noqa: PLR2004 - the longest has 32 bytes
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


@lru_cache(CACHED)
def of_code_points(primaries: int, transfer: int) -> Colours | None:
    """The conversion by code points (ITU-T H.273)."""
    points = CodePoints(primaries, transfer)
    return None if points.is_srgb else Colours("RGB", points.to_srgb)


def of_heif(data: bytes, profile: bytes | None) -> Colours | None:
    """The conversion of a HEIC or AVIF file, by its ICC profile or its code points (14496-12, 12.1.5: ``colr``)."""
    if profile:
        return of_profile(profile)
    for begin, end in find_boxes(data, (b"meta", b"iprp", b"ipco", b"colr")):
        if data[begin : begin + 4] == b"nclx" and end - begin >= 10:  # noqa: PLR2004 - type and three numbers
            return of_code_points(*struct.unpack_from(">HH", data, begin + 4))
    return None
