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
    10: ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1 / 3, 1 / 3)),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
"""Chromaticities of red, green, blue and white (H.273, table 2)."""
_LIKE_SRGB: Final = frozenset((1, 2, 6, 11, 13, 14, 15))
"""Transfer functions that browsers treat as sRGB's: BT.709, unspecified, BT.601, xvYCC, sRGB, BT.2020."""
_GAMMAS: Final = {4: 2.2, 5: 2.8, 8: 1.0}
_BT_709_CURVES: Final = frozenset((1, 6, 11, 14, 15))
_SMPTE_240M: Final = 7
_DARK_240M: Final = 0.0913
_PQ: Final = 16
_DCI: Final = 17
"""SMPTE ST 428-1, of digital cinema."""
_HLG: Final = 18
_KNOWN: Final = _LIKE_SRGB | {*_GAMMAS, _SMPTE_240M, _DCI, _PQ, _HLG}
_HLG_KNEE: Final = 0.5
_DARK: Final = 0.0031308
_DARK_ENCODED: Final = 0.04045
"""Ends of the linear part of sRGB's transfer function, in light and in values."""
_WHITE_NITS: Final = 203.0
"""Luminance of white in SDR (ITU-R BT.2408)."""
USUAL_NITS: Final = 1_000.0
"""Luminance of the brightest pixel of an HDR image, if it does not say."""
_ENCODING_STEPS: Final = 4_096
_BT_2020_LUMA: Final = np.array([0.2627, 0.6780, 0.0593], np.float32)


@dataclass(frozen=True)
class CodePoints:
    """Primaries and transfer function of an image. Values of pixels are 8 bits."""

    primaries: int
    transfer: int
    brightest_nits: float = USUAL_NITS
    """Luminance of the brightest pixel of an HDR image."""
    is_exact: bool = False
    """Whether BT.709's transfer function is a display's, as in PNGs; in AVIFs, browsers treat it as sRGB's."""

    @property
    def is_known(self) -> bool:
        """Whether browsers convert such colours."""
        return self.primaries in _PRIMARIES and self.transfer in _KNOWN - {2}

    @property
    def is_srgb(self) -> bool:
        """Whether nothing has to be converted, or the codes are unknown."""
        if self.is_exact and self.transfer in _BT_709_CURVES:
            return False
        return self.transfer not in _KNOWN or (
            self.transfer in _LIKE_SRGB and self.primaries not in _PRIMARIES.keys() - {1}
        )

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """An RGB image in sRGB."""
        return Image.fromarray(self._convert(np.asarray(image)))

    def _convert(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        linear = self._linear[pixels]
        if self.transfer == _HLG:
            # The system gamma of a display with 1,000 nits (ITU-R BT.2100, table 5).
            luma = linear @ _BT_2020_LUMA
            linear = linear * np.power(np.maximum(luma, 1e-6), 0.2)[..., np.newaxis] * (USUAL_NITS / _WHITE_NITS)
        if self.transfer in {_PQ, _HLG}:
            linear = _tone_mapped(linear, self.brightest_nits if self.transfer == _PQ else USUAL_NITS)
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
        elif self.transfer == _DCI:
            light = values**2.6 * (52.37 / 48)
        elif self.transfer == _SMPTE_240M:
            light = np.where(values < _DARK_240M, values / 4, ((values + 0.1115) / 1.1115) ** (1 / 0.45))
        elif self.is_exact and self.transfer in _BT_709_CURVES:
            # As a display shows them (ITU-R BT.1886).
            light = values**2.4
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
    columns = np.array([(x, y, 1 - x - y) for x, y in (red, green, blue)]).T
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


def _tone_mapped(linear: _Floats, brightest_nits: float) -> _Floats:
    """Compresses light above white, 0 … ``brightest_nits`` to 0 … 1 (Reinhard, extended), without changing hues."""
    brightest = max(1.0, brightest_nits / _WHITE_NITS)
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
