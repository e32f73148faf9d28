"""Colours by code points (ITU-T H.273), as HEIC, AVIF and PNG (``cICP``) have them, converted to sRGB.

PQ and HLG, the transfer functions of HDR images, are mapped to the range of SDR as Chromium does.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_Floats = NDArray[np.float32]
_XY = tuple[float, float]

_D65: Final[_XY] = (0.3127, 0.3290)
_BT_709: Final = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65)
_PRIMARIES: Final[dict[int, tuple[_XY, _XY, _XY, _XY]]] = {
    1: _BT_709,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316)),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}
"""Chromaticities of red, green, blue and white (H.273, table 2)."""
_LIKE_SRGB: Final = frozenset((1, 2, 6, 13, 14, 15))
"""Transfer functions that browsers treat as sRGB's: BT.709, unspecified, BT.601, sRGB, BT.2020."""
_GAMMAS: Final = {4: 2.2, 5: 2.8, 8: 1.0}
_PQ: Final = 16
_HLG: Final = 18
_HLG_KNEE: Final = 0.5
_DARK: Final = 0.0031308
_DARK_ENCODED: Final = 0.04045
"""Ends of the linear part of sRGB's transfer function, in light and in values."""
_WHITE_NITS: Final = 203.0
"""Luminance of white in SDR (ITU-R BT.2408)."""
_BRIGHTEST_NITS: Final = 1_000.0
"""Of HDR content, if nothing else is known."""
_ENCODING_STEPS: Final = 4_096
_BT_2020_LUMA: Final = np.array([0.2627, 0.6780, 0.0593], np.float32)


@dataclass(frozen=True)
class CodePoints:
    """Primaries and transfer function of an image. Values of pixels are 8 bits."""

    primaries: int
    transfer: int

    @property
    def is_srgb(self) -> bool:
        """Whether nothing has to be converted, or the codes are unknown."""
        is_known = self.transfer in {*_LIKE_SRGB, *_GAMMAS, _PQ, _HLG}
        return not is_known or (self.transfer in _LIKE_SRGB and self.primaries not in _PRIMARIES.keys() - {1})

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """An RGB image in sRGB."""
        return Image.fromarray(self._convert(np.asarray(image)))

    def _convert(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        linear = self._linear[pixels]
        if self.transfer == _HLG:
            # The system gamma of a display with 1,000 nits (ITU-R BT.2100, table 5).
            luma = linear @ _BT_2020_LUMA
            linear = linear * np.power(np.maximum(luma, 1e-6), 0.2)[..., np.newaxis] * (_BRIGHTEST_NITS / _WHITE_NITS)
        if self.transfer in {_PQ, _HLG}:
            linear = _tone_mapped(linear)
        return encode_srgb(linear @ self._matrix.T)

    @cached_property
    def _linear(self) -> _Floats:
        """Linear light for each of the 256 values; of PQ in relation to the white of SDR."""
        values = np.arange(256, dtype=np.float64) / 255
        if self.transfer == _PQ:
            m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
            power = values ** (1 / m2)
            light = (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) * 10_000 / _WHITE_NITS
        elif self.transfer == _HLG:
            a = 0.17883277
            b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
            light = np.where(values <= _HLG_KNEE, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
        elif self.transfer in _GAMMAS:
            light = values ** _GAMMAS[self.transfer]
        else:
            light = decode_srgb(values)
        return light.astype(np.float32)

    @cached_property
    def _matrix(self) -> _Floats:
        return matrix_to_srgb(*_PRIMARIES.get(self.primaries, _BT_709))


def matrix_to_srgb(red: _XY, green: _XY, blue: _XY, white: _XY) -> _Floats:
    """Matrix of shape (3, 3) from linear RGB with these primaries to linear sRGB; white stays white.

    Raises ValueError if the primaries are no triangle.
    """
    try:
        matrix = np.linalg.inv(_to_xyz(*_BT_709)) @ _adaptation(white) @ _to_xyz(red, green, blue, white)
    except (np.linalg.LinAlgError, ZeroDivisionError) as error:
        raise ValueError("the primaries are no triangle") from error
    if not np.isfinite(matrix).all():
        raise ValueError("the primaries are no triangle")
    return matrix.astype(np.float32)


def _to_xyz(red: _XY, green: _XY, blue: _XY, white: _XY) -> NDArray[np.float64]:
    columns = np.array([_xyz(*one) for one in (red, green, blue)]).T
    scales = np.linalg.solve(columns, _xyz(*white))
    return columns * scales


def _xyz(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _adaptation(white: _XY) -> NDArray[np.float64]:
    """From a white to D65, after Bradford."""
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    scales = (cone @ _xyz(*_D65)) / (cone @ _xyz(*white))
    adapted: NDArray[np.float64] = np.linalg.inv(cone) @ np.diag(scales) @ cone
    return adapted


def _tone_mapped(linear: _Floats) -> _Floats:
    """Compresses light above white, 0 … 1,000 nits to 0 … 1 (Reinhard, extended), without changing hues."""
    brightest = _BRIGHTEST_NITS / _WHITE_NITS
    peak = linear.max(axis=-1, keepdims=True)
    mapped: _Floats = linear * (1 + peak / brightest**2) / (1 + peak)
    return mapped


def decode_srgb(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light of sRGB values, 0..1 (IEC 61966-2-1)."""
    decoded: NDArray[np.float64] = np.where(values <= _DARK_ENCODED, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return decoded


def _encoding() -> NDArray[np.uint8]:
    # Finer where it is dark: steps of the square root of light.
    light = (np.arange(_ENCODING_STEPS + 1) / _ENCODING_STEPS) ** 2
    encoded = np.where(light <= _DARK, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    table: NDArray[np.uint8] = (255 * encoded).round().astype(np.uint8)
    return table


_ENCODED: Final = _encoding()


def encode_srgb(linear: _Floats) -> NDArray[np.uint8]:
    """SRGB values of linear light, which is cut off at 0 and 1."""
    encoded: NDArray[np.uint8] = _ENCODED[(np.sqrt(linear.clip(0, 1)) * _ENCODING_STEPS).round().astype(np.intp)]
    return encoded
