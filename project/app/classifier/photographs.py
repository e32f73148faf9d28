"""Tells photographs from noise, documents, screenshots, drawings and plain colours, by their pixels alone.

A network trained on photographs gives such images high scores, too: mobilenet_v2 says "web site" or "envelope" with
more than 50 % for half of them. Neighbouring pixels of photographs differ a little, because of noise and shading, and
yet resemble each other. Limits and measurements: docs/decisions/0045.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

LEAST_DIFFERENCE: Final = 1.5
MOST_DIFFERENCE: Final = 15.0
"""Differences of neighbours that count, in levels of 0 to 255: less is a flat area, more an edge or noise."""
MIN_SHARE: Final = 0.2
"""Neighbours with such a difference: photographs have 32 to 67 % (5 to 95 % of them), documents at most 20 %.

The same share of differences has to differ, because those of a gradient are all alike.
"""
MIN_CORRELATION: Final = 0.8
"""Of neighbours: photographs have 0.86 and more, noise from pixel to pixel 0.2."""
GREEN: Final = 1


def is_photograph(tensor: NDArray[np.float32], scale: float) -> bool:
    """Whether an image looks like a photograph.

    ``tensor``: of shape (size, size, 3). ``scale``: how much one level of green, of 0 to 255, is in the tensor.
    """
    # Every fourth row suffices, and takes a quarter of the time.
    green = tensor[::4, :, GREEN] * np.float32(1 / scale)
    differences = np.diff(green, axis=1)
    if min(_share(differences), _share(np.diff(differences, axis=1))) < MIN_SHARE:
        return False
    variance = float(green.var())
    # The mean square of the differences is twice the variance, less twice the covariance.
    covariance = variance - float(np.vdot(differences, differences)) / differences.size / 2
    return covariance >= MIN_CORRELATION * variance


def _share(differences: NDArray[np.float32]) -> float:
    sizes = np.abs(differences)
    return np.count_nonzero((sizes > LEAST_DIFFERENCE) & (sizes < MOST_DIFFERENCE)) / sizes.size
