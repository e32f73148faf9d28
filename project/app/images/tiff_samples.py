"""What the samples of a TIFF mean (TIFF 6.0): which kinds are decoded correctly, and the range of deep grey."""

from dataclasses import dataclass
from typing import Final

from PIL import TiffImagePlugin

from app.images.metered_file import MeteredFile

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _MASK, _CMYK, _YCBCR, _CIELAB = 0, 1, 2, 3, 4, 5, 6, 8
_NAMES: Final = {
    _WHITE_IS_ZERO: "inverted grey",
    _BLACK_IS_ZERO: "grey",
    _RGB: "RGB",
    _PALETTE: "palette",
    _MASK: "mask",
    _CMYK: "CMYK",
    _YCBCR: "YCbCr",
    _CIELAB: "CIELAB",
    9: "ICCLAB",
    10: "ITULAB",
    32_844: "LogL",
    32_845: "LogLuv",
}
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_KINDS: Final = {_UNSIGNED: "unsigned", _SIGNED: "signed", _FLOAT: "floating-point"}
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT, _COMPRESSION = 258, 262, 339, 259
_OLD_JPEG: Final = 6
_DEPTHS: Final[dict[int, frozenset[int]]] = {
    _RGB: frozenset((8, 16)),
    _PALETTE: frozenset((1, 2, 4, 8)),
    _CMYK: frozenset((8, 16)),
    _YCBCR: frozenset((8,)),
    _CIELAB: frozenset((8,)),
}
"""Bits per unsigned sample that the reader decodes correctly."""
_GREY_DEPTHS: Final = {
    _WHITE_IS_ZERO: frozenset(((1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (32, 3))),
    _BLACK_IS_ZERO: frozenset(((1, 1), (2, 1), (4, 1), (8, 1), (12, 1), (16, 1), (16, 2), (32, 1), (32, 2), (32, 3))),
}
"""Bits and kind of a grey sample that the reader decodes correctly."""
_SCIENTIFIC_DEPTHS: Final = (10, 12, 14)


_MAGIC: Final = frozenset((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
_BIG: Final = 43


@dataclass(frozen=True, slots=True)
class Samples:
    """Of a TIFF: how values stand for light."""

    photometric: int
    bits: int
    kind: int

    @property
    def is_inverted(self) -> bool:
        """Whether zero is white."""
        return self.photometric == _WHITE_IS_ZERO

    @property
    def is_wrapped(self) -> bool:
        """Whether Pillow, which has signed integers only, makes the upper half of the values negative."""
        return self.kind == _UNSIGNED and self.bits == 32  # noqa: PLR2004

    def grey_range(self, lowest: float, highest: float) -> tuple[float, float]:
        """Values that stand for the ends of deep grey, given those that occur."""
        if self.kind == _FLOAT:
            return (0.0, 1.0) if lowest >= 0 and highest <= 1 else (min(0.0, lowest), highest)
        if self.kind == _SIGNED:
            return (-(2.0 ** (self.bits - 1)) if lowest < 0 else 0.0), 2.0 ** (self.bits - 1) - 1
        if self.bits < 16:  # noqa: PLR2004
            return 0.0, 2.0**self.bits - 1
        # Cameras and microscopes store 10 to 14 bits in 16, and others 8 or 16 in 32.
        depths = (8, *_SCIENTIFIC_DEPTHS, 16, 32) if self.bits > 16 else (*_SCIENTIFIC_DEPTHS[:2], 16)  # noqa: PLR2004
        return 0.0, next((2.0**depth - 1 for depth in depths if highest < 2**depth), highest)


def samples_of(image: TiffImagePlugin.TiffImageFile) -> Samples:
    """The samples of an open file."""
    tags = image.tag_v2
    return Samples(int(tags.get(_PHOTOMETRIC, 0)), max(tags.get(_BITS, (1,))), max(tags.get(_SAMPLE_FORMAT, (1,))))


def unsupported(data: bytes) -> str | None:
    """What a TIFF has that is not decoded correctly; None if it is, or for other files."""
    if data[:4] not in _MAGIC:
        return None
    tags = _directory(data)
    photometric = int(tags.get(_PHOTOMETRIC, 0))
    depths, kinds = set(tags.get(_BITS, (1,))), set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,)))
    if tags.get(_COMPRESSION) == _OLD_JPEG:
        return "JPEG compression of the old style"
    bits, kind = max(depths), max(kinds)
    if len(depths) == len(kinds) == 1:
        if (bits, kind) in _GREY_DEPTHS.get(photometric, ()):
            return None
        if kind == _UNSIGNED and bits in _DEPTHS.get(photometric, ()):
            return None
    name = _NAMES.get(photometric, f"photometric interpretation {photometric}")
    return f"{name} with {bits}-bit {_KINDS.get(kind, 'undefined')} samples"


def _directory(data: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The first directory. Raises what Pillow's reader raises."""
    file = MeteredFile(data)
    head = file.read(8)
    if _BIG in head[2:4]:
        head += file.read(8)
    directory = TiffImagePlugin.ImageFileDirectory_v2(head)
    file.seek(directory.next or 0)
    directory.load(file)
    return directory
