"""Grey with more than 8 bits per pixel: finds its range and converts it. ``convert("RGB")`` would clip it to white."""

from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from app.images.tiff_samples import samples_of

BAND_PIXELS: Final = 2**21
"""Pixels that are converted at once."""
BAND_BYTES: Final = 24
"""Bytes per pixel of the copies that a conversion makes."""
_MAX_8_BIT: Final = 255.0
_MAX_16_BIT: Final = 65535.0
_MAX_REAL: Final = 1e30


class DeepGrey:
    """Converts parts of an image of mode I, F or I;16 in the same way."""

    def __init__(self, image: Image.Image) -> None:
        self._samples = samples_of(image) if isinstance(image, TiffImagePlugin.TiffImageFile) else None
        self._black, self._white = self._range(image)
        key = image.info.get("transparency")
        self._key = key if isinstance(key, int) else None
        """The value of transparent pixels (``tRNS`` of a PNG), which are shown on white."""

    @staticmethod
    def is_needed(image: Image.Image) -> bool:
        """Whether an image has such a mode."""
        return image.mode in {"I", "F"} or image.mode.startswith("I;16")

    def to_rgb(self, part: Image.Image) -> Image.Image:
        """A part of the image in RGB."""
        scale = _MAX_8_BIT / ((self._white - self._black) or 1)
        values = self._values(part)
        levels = ((values - self._black) * scale).clip(0, _MAX_8_BIT).round().astype(np.uint8)
        if self._key is not None:
            levels[values == self._key] = 255
        return Image.fromarray(levels).convert("RGB")

    def _range(self, image: Image.Image) -> tuple[float, float]:
        """Values that stand for black and white."""
        if self._samples is None and image.mode.startswith("I;16"):
            return 0.0, _MAX_16_BIT
        lowest = highest = 0.0
        side = int(BAND_PIXELS**0.5)
        for top, left in product(range(0, image.height, side), range(0, image.width, side)):
            box = (left, top, min(image.width, left + side), min(image.height, top + side))
            grey = self._values(image.crop(box))
            lowest, highest = min(lowest, float(grey.min(initial=0))), max(highest, float(grey.max(initial=0)))
        if self._samples:
            ends = self._samples.grey_range(lowest, highest)
            return ends[::-1] if self._samples.is_inverted else ends
        if image.mode == "I" and _MAX_8_BIT < highest <= _MAX_16_BIT:
            return 0.0, _MAX_16_BIT
        if image.mode == "F" and lowest >= 0 and highest <= 1:
            return 0.0, 1.0
        return lowest, max(_MAX_8_BIT, highest)

    def _values(self, image: Image.Image) -> NDArray[np.float32]:
        values = np.asarray(image)
        if self._samples and self._samples.is_wrapped:
            values = values.view(np.uint32)
        finite: NDArray[np.float32] = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
        if self._samples and self._samples.is_float:
            # Maps mark missing values with the lowest number that there is.
            finite[np.abs(finite) > _MAX_REAL] = 0
        return finite
