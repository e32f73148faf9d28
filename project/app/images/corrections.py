"""What Pillow's readers leave out: makes an open file the image that browsers show."""

import struct
import zlib
from fractions import Fraction
from math import floor
from typing import Final

from PIL import Image, ImageFile

from app.images.boxes import find_boxes

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNKS: Final = 100_000
_ANCILLARY: Final = 0x20
"""Bit of a chunk type's first letter (PNG, 5.4): lower case, so the image can be shown without the chunk."""
_IHDR_DEPTH_AT: Final = 24

_Box = tuple[int, int, int, int]


def readable(data: bytes) -> bytes:
    """A PNG without ancillary chunks whose checksum is wrong, which browsers ignore; other files unchanged."""
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
            if checksum != zlib.crc32(memoryview(data)[position + 4 : end - 4]):
                pieces.append(data[copied:position])
                copied = end
        position = end
    return b"".join([*pieces, data[copied:]]) if pieces else data


def select_first_frame(image: ImageFile.ImageFile) -> None:
    """Of an animated PNG, whose default image need not be one of its frames."""
    if getattr(image, "default_image", False) and getattr(image, "n_frames", 1) > 1:
        image.seek(1)


def clean_aperture(data: bytes, image: ImageFile.ImageFile) -> _Box | None:
    """The part of an AVIF to show (``clap``, ISO/IEC 14496-12, 12.1.4), in pixels; libheif crops HEIC itself."""
    if image.format != "AVIF":
        return None
    for begin, end in find_boxes(data, (b"meta", b"iprp", b"ipco", b"clap")):
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


def corrected(data: bytes, image: ImageFile.ImageFile, frame: _Box | None) -> Image.Image:
    """The loaded image as browsers show it. ``frame``: where the first frame of a GIF is."""
    if box := clean_aperture(data, image):
        return image.crop(box)
    if image.format == "PNG" and image.mode in {"1", "L"} and isinstance(image.info.get("transparency"), int):
        # The key is in the file's own bits, the pixels have 8.
        image.info["transparency"] *= 255 // (2 ** min(8, data[_IHDR_DEPTH_AT]) - 1)
    if image.format == "GIF" and frame and frame != (0, 0, *image.size):
        # The rest of the canvas is transparent, not the background colour (as in all browsers).
        whole = Image.new("RGBA", image.size)
        whole.paste(image.crop(frame).convert("RGBA"), frame[:2])
        return whole
    return image
