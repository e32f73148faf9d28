"""BMP files with bit-field masks of any kind (BITMAPINFOHEADER, BI_BITFIELDS); Pillow's reader knows the usual ones."""

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

SIGNATURE: Final = b"BM"
DECODER: Final = "bmp_masks"
_HEADER: Final = struct.Struct("<2sLHHLLllHHL")
"""File header, size of the next header, width, height, planes, bits per pixel, compression."""
_MASKS_AT: Final = 54
_RGB: Final = 0
_BITFIELDS: Final = 3
_ALPHA_BITFIELDS: Final = 6
_WITH_ALPHA: Final = 56
"""Size from which a header has a mask for transparency."""
_WITH_SPACE: Final = 108
"""Size from which a header describes colours."""
_USUAL: Final = (0xFF0000, 0xFF00, 0xFF)
_BAND_PIXELS: Final = 2**20
_COLOURS: Final = 3
_DEPTHS: Final = {16: "<u2", 32: "<u4"}


@dataclass(frozen=True, slots=True)
class _Layout:
    depth: int
    masks: tuple[int, ...]
    is_bottom_up: bool


def layout_of(head: bytes) -> tuple[tuple[int, int], int, _Layout] | None:
    """Size, offset of the pixels, and how they are stored; None if the file has no masks."""
    if len(head) < _MASKS_AT + 16 or not head.startswith(SIGNATURE):
        return None
    _, _, _, _, offset, size, width, height, _, depth, compression = _HEADER.unpack_from(head)
    if depth not in _DEPTHS or width <= 0 or height == 0:
        return None
    if compression == _RGB and depth == 32 and size >= _WITH_SPACE:  # noqa: PLR2004
        # Browsers respect such a header's mask for transparency, and only that.
        (alpha,) = struct.unpack_from("<L", head, _MASKS_AT + 12)
        return ((width, abs(height)), offset, _Layout(depth, (*_USUAL, alpha), height > 0)) if alpha else None
    if compression not in {_BITFIELDS, _ALPHA_BITFIELDS}:
        return None
    has_alpha = compression == _ALPHA_BITFIELDS or size >= _WITH_ALPHA
    masks = struct.unpack_from("<4L" if has_alpha else "<3L", head, _MASKS_AT)
    if has_alpha and not masks[3]:
        masks = masks[:3]
    return (width, abs(height)), offset, _Layout(depth, masks, height > 0)


class MaskedBmpFile(ImageFile.ImageFile):
    """Reads such files."""

    format = "BMP"
    format_description = "BMP with bit-field masks"

    def _open(self) -> None:
        assert self.fp is not None
        head = self.fp.read(_MASKS_AT + 16)
        found = layout_of(head)
        if found is None:
            raise SyntaxError("not a BMP with masks")
        self._size, offset, layout = found
        self._mode = "RGBA" if len(layout.masks) > _COLOURS else "RGB"
        self.tile = [ImageFile._Tile(DECODER, (0, 0, *self._size), offset, (layout,))]  # noqa: SLF001 - no public name


class MaskDecoder(ImageFile.PyDecoder):
    """Decodes their pixels."""

    _pulls_fd = True

    def decode(self, buffer: Any) -> tuple[int, int]:  # noqa: ARG002 - reads the file itself
        """All pixels at once. Raises OSError if there are too few."""
        assert self.fd is not None
        layout: _Layout = self.args[0]
        width, height = self.state.xsize, self.state.ysize
        kind = np.dtype(_DEPTHS[layout.depth])
        stride = -(-width * kind.itemsize // 4) * 4
        data = self.fd.read(stride * height)
        if len(data) < stride * height:
            raise OSError("the BMP is truncated")
        rows = np.frombuffer(data, np.uint8).reshape(height, stride)[:, : width * kind.itemsize]
        pixels = np.empty((height, width, len(layout.masks)), np.uint8)
        at_once = max(1, _BAND_PIXELS // width)
        for top in range(0, height, at_once):
            values = np.ascontiguousarray(rows[top : top + at_once]).view(kind)
            for channel, mask in enumerate(layout.masks):
                pixels[top : top + at_once, :, channel] = _scaled(values, mask)
        self.set_as_raw((pixels[::-1] if layout.is_bottom_up else pixels).tobytes())
        return -1, 0


def _scaled(values: NDArray[np.unsignedinteger], mask: int) -> NDArray[np.uint8]:
    """A channel, scaled from the mask's bits to 0..255; without a mask, zero."""
    if not mask:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    highest = mask >> shift
    channel = (values & mask) >> shift
    scaled: NDArray[np.uint8] = (channel.astype(np.float32) * (255 / highest)).round().astype(np.uint8)
    return scaled
