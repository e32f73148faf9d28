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
_SAMPLES: Final = 277
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
_STORED_DEPTHS: Final = (8, 10, 12, 14, 16, 24)
_DARKEST: Final = 1 / 16
_PLANES, _SUBSAMPLING = 284, 530
_SEPARATE: Final = 2
_JPEG: Final = 7
_COMPRESSIONS: Final = {
    **dict.fromkeys((1, 2, 3, 4, 5, 7, 8, 32_773, 32_946, 34_925, 50_000), ""),
    6: "JPEG compression of the old style",
    33_003: "JPEG 2000 compression",
    33_005: "JPEG 2000 compression",
    34_712: "JPEG 2000 compression",
    34_887: "LERC compression",
    50_001: "WebP compression",
    50_002: "JPEG XL compression",
    52_546: "JPEG XL compression",
}
"""Compressions; empty if the reader knows them."""


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
    def is_float(self) -> bool:
        """Whether values are floating-point numbers."""
        return self.kind == _FLOAT

    @property
    def is_wrapped(self) -> bool:
        """Whether Pillow, which has signed integers only, makes the upper half of the values negative."""
        return self.kind == _UNSIGNED and self.bits == 32  # noqa: PLR2004

    def grey_range(self, lowest: float, highest: float) -> tuple[float, float]:
        """Values that stand for the ends of deep grey, given those that occur."""
        if self.kind == _FLOAT:
            # A picture of 0..1 is never that dark.
            is_usual = lowest >= 0 and _DARKEST < highest <= 1
            return (0.0, 1.0) if is_usual else (min(0.0, lowest), highest)
        if lowest < 0:
            # Computed tomography, say: no depth is usual.
            return lowest, highest
        if self.bits < 16:  # noqa: PLR2004
            return 0.0, 2.0**self.bits - 1
        # Cameras and microscopes store 8 to 14 bits in 16, and others up to 24 in 32.
        whole = self.bits - (self.kind == _SIGNED)
        depths = [depth for depth in _STORED_DEPTHS if depth < whole]
        return 0.0, next((2.0**depth - 1 for depth in [*depths, whole] if highest < 2**depth), highest)


def samples_of(image: TiffImagePlugin.TiffImageFile) -> Samples:
    """The samples of an open file."""
    tags = image.tag_v2
    return Samples(int(tags.get(_PHOTOMETRIC, 0)), max(tags.get(_BITS, (1,))), max(tags.get(_SAMPLE_FORMAT, (1,))))


def unsupported(data: bytes) -> str | None:
    """What a TIFF has that is not decoded correctly; None if it is, or for other files."""
    if data[:4] not in _MAGIC:
        return None
    tags = _directory(data)
    compression = int(tags.get(_COMPRESSION, 1))
    return (
        _COMPRESSIONS.get(compression, f"compression {compression}")
        or _unsupported_layout(tags, compression, is_big_endian=data.startswith(b"MM"))
        or _unsupported_samples(tags)
    )


def _unsupported_layout(
    tags: TiffImagePlugin.ImageFileDirectory_v2, compression: int, *, is_big_endian: bool
) -> str | None:
    photometric, bits = int(tags.get(_PHOTOMETRIC, 0)), max(tags.get(_BITS, (1,)))
    name = _name_of(photometric)
    if tags.get(_PLANES) == _SEPARATE and bits != 8 and int(tags.get(_SAMPLES, 1)) > 1:  # noqa: PLR2004
        return f"{name} with {bits}-bit samples in separate planes"
    if photometric == _YCBCR and compression != _JPEG and tuple(tags.get(_SUBSAMPLING, (2, 2))) != (1, 1):
        return "subsampled YCbCr without JPEG compression"
    if is_big_endian and max(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) == _SIGNED:
        return f"{name} with big-endian signed samples"
    return None


def _unsupported_samples(tags: TiffImagePlugin.ImageFileDirectory_v2) -> str | None:
    photometric = int(tags.get(_PHOTOMETRIC, 0))
    depths, kinds = set(tags.get(_BITS, (1,))), set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,)))
    bits, kind = max(depths), max(kinds)
    if len(depths) == len(kinds) == 1:
        if (bits, kind) in _GREY_DEPTHS.get(photometric, ()):
            return None
        if kind == _UNSIGNED and bits in _DEPTHS.get(photometric, ()):
            return None
    return f"{_name_of(photometric)} with {bits}-bit {_KINDS.get(kind, 'undefined')} samples"


def _name_of(photometric: int) -> str:
    return _NAMES.get(photometric, f"photometric interpretation {photometric}")


def describe_tiff(data: bytes) -> str | None:
    """What a TIFF is that the reader cannot open although its kind is supported; None for other files."""
    try:
        tags = _directory(data) if data[:4] in _MAGIC else {}
        if not tags:
            return None
        name, samples = _name_of(int(tags.get(_PHOTOMETRIC, 0))), int(tags.get(_SAMPLES, 1))
        bits = int(max(tags.get(_BITS, (1,))))
    except Exception:  # noqa: BLE001 - a broken directory says nothing, and a tag may have any type
        return None
    order = "big-endian" if data.startswith(b"MM") else "little-endian"
    return f"a {order} TIFF with {name}, {samples} x {bits} bits per pixel: save it as RGB with 8 bits per sample"


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
