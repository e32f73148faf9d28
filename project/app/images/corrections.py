"""What Pillow's readers leave out: makes an open file the image that browsers show."""

import struct
import zlib
from fractions import Fraction
from math import floor
from typing import Final

from PIL import Image, ImageFile, TiffImagePlugin

from app.domain import ImageUnreadable
from app.images.boxes import primary_properties

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNKS: Final = 100_000
_ANCILLARY: Final = 0x20
"""Bit of a chunk type's first letter (PNG, 5.4): lower case, so the image can be shown without the chunk."""
_IHDR_DEPTH_AT: Final = 24
_IHDR_COLOURS_AT: Final = 25
_LEAST_BYTES: Final = {b"pHYs": 9, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"iCCP": 4, b"acTL": 8, b"tIME": 7}
_KEY_BYTES: Final = {0: 2, 2: 6}
"""Of ``tRNS``, by the type of colours: grey and RGB."""
_COLOUR_MAP: Final = 320
_MAX_8_BIT: Final = 255
_MAX_14_BIT, _MAX_12_BIT = 63, 15
"""The upper 8 of 16 bits, of samples with fewer bits."""
_BITS: Final = 258

_Box = tuple[int, int, int, int]


def readable(data: bytes) -> bytes:
    """A PNG without ancillary chunks that are damaged or too short, which browsers ignore; other files unchanged."""
    if not data.startswith(_PNG_SIGNATURE):
        return data
    pieces, copied, position = [], 0, len(_PNG_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if position + 12 > len(data):
            break
        length, kind = struct.unpack_from(">L4s", data, position)
        end = position + 12 + length
        if kind[0] & _ANCILLARY and end <= len(data):
            (checksum,) = struct.unpack_from(">L", data, end - 4)
            is_short = length < _least_bytes(kind, data)
            if is_short or checksum != zlib.crc32(memoryview(data)[position + 4 : end - 4]):
                pieces.append(data[copied:position])
                copied = end
        position = end
    return b"".join([*pieces, data[copied:]]) if pieces else data


def _least_bytes(kind: bytes, data: bytes) -> int:
    """Bytes that a chunk of this kind must have (PNG, 11.3)."""
    if kind == b"tRNS":
        return _KEY_BYTES.get(data[_IHDR_COLOURS_AT], 0)
    return _LEAST_BYTES.get(kind, 0)


def select_first_frame(image: ImageFile.ImageFile) -> None:
    """Of an animated PNG, whose default image need not be one of its frames."""
    if _has_hidden_default(image):
        image.seek(1)
        # The default image is no part of the animation, which begins with a transparent canvas (APNG, 1.0).
        image._prev_im = None  # type: ignore[attr-defined] # noqa: SLF001


def _has_hidden_default(image: ImageFile.ImageFile) -> bool:
    """Whether an image is an animated PNG whose default image is not one of its frames."""
    return bool(getattr(image, "default_image", False)) and getattr(image, "n_frames", 1) > 1


def clean_aperture(data: bytes, image: ImageFile.ImageFile) -> _Box | None:
    """The part of an AVIF to show (``clap``, ISO/IEC 14496-12, 12.1.4), in pixels; libheif crops HEIC itself."""
    if image.format != "AVIF":
        return None
    for begin, end in primary_properties(data, b"clap"):
        if end - begin < 32:  # noqa: PLR2004 - four fractions
            continue
        numbers = struct.unpack_from(">LLLLlLlL", data, begin)
        if 0 in numbers[1::2]:
            continue
        width, height, across, down = (Fraction(*numbers[index : index + 2]) for index in range(0, 8, 2))
        left = floor((image.width - width) / 2 + across)
        top = floor((image.height - height) / 2 + down)
        box = (left, top, left + floor(width), top + floor(height))
        if 0 <= left < box[2] <= image.width and 0 <= top < box[3] <= image.height:
            return box
    return None


def _with_full_range(image: TiffImagePlugin.TiffImageFile) -> Image.Image:
    """RGB with 16 bits per sample, of which some programs use fewer; Pillow keeps the upper 8.

    Raises ImageUnreadable if too few of these are left.
    """
    bits = max(image.tag_v2.get(_BITS, (1,)))
    highest = max(int(high) for _, high in image.getextrema()[:3]) if bits == 16 else _MAX_8_BIT  # type: ignore[misc] # noqa: PLR2004
    if highest > _MAX_14_BIT or highest == 0:
        return image
    if highest <= _MAX_12_BIT:
        raise ImageUnreadable("The TIFF uses 12 bits or fewer of 16: save it with 8 bits per sample.")
    return image.point([min(_MAX_8_BIT, level * _MAX_8_BIT // _MAX_14_BIT) for level in range(256)] * len(image.mode))


def corrected(data: bytes, image: ImageFile.ImageFile, frame: _Box | None) -> Image.Image:
    """The loaded image as browsers show it. ``frame``: where the first frame of a GIF is."""
    if box := clean_aperture(data, image):
        return image.crop(box)
    if image.format == "PNG" and image.mode in {"1", "L"} and isinstance(image.info.get("transparency"), int):
        # The key is in the file's own bits, the pixels have 8.
        image.info["transparency"] *= 255 // (2 ** min(8, data[_IHDR_DEPTH_AT]) - 1)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode == "P":
        colours = image.tag_v2.get(_COLOUR_MAP, ())
        if colours and max(colours) <= _MAX_8_BIT:
            # Some programs write 8 bits where TIFF has 16; libtiff guesses the same.
            image.putpalette(bytes(colours), "RGB;L")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode in {"RGB", "RGBA"}:
        return _with_full_range(image)
    if (image.format == "GIF" or _has_hidden_default(image)) and frame and frame != (0, 0, *image.size):
        # The rest of the canvas is transparent, not the background colour (as in all browsers).
        whole = Image.new("RGBA", image.size)
        whole.paste(image.crop(frame).convert("RGBA"), frame[:2])
        return whole
    return image
