"""Intervals of shares, and whether one of two models is right more often on the same images."""

import math
from typing import Final

Z_95: Final = 1.959963984540054
"""Quantile of the normal distribution for a two-sided interval of 95 %."""


def wilson_interval(successes: float, total: float) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), 0..1."""
    if not total:
        return 0.0, 1.0
    share, square = successes / total, Z_95**2
    centre = share + square / (2 * total)
    margin = Z_95 * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    scale = 1 + square / total
    return max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale)


def mcnemar(only_first: int, only_second: int) -> float:
    """How likely a difference at least as large is by chance: the exact two-sided test of McNemar (1947).

    ``only_first``, ``only_second``: images that only the one is right about, which alone tell the two apart.
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    # Of logarithms, because powers of many images are out of range.
    logs = [
        math.lgamma(total + 1) - math.lgamma(n + 1) - math.lgamma(total - n + 1) - total * math.log(2)
        for n in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(one) for one in logs))


def difference(total: int, only_first: int, only_second: int) -> tuple[float, float, float]:
    """By how much the second model is right more often, and the 95 % interval (Agresti and Min, 2005): -1..1 each."""
    if not total:
        return 0.0, -1.0, 1.0
    # Half an image is added to each of the four counts.
    adjusted, first, second = total + 2, only_first + 0.5, only_second + 0.5
    centre = (second - first) / adjusted
    margin = Z_95 * math.sqrt((first + second) - (second - first) ** 2 / adjusted) / adjusted
    return (only_second - only_first) / total, max(-1.0, centre - margin), min(1.0, centre + margin)
