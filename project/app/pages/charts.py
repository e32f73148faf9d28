"""Bar charts: the geometry of bars, axes and grid lines, which templates draw as SVG."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

WIDTH: Final = 960
HEIGHT: Final = 180
LEFT: Final = 64
"""Room for the labels of the vertical axis."""
BELOW: Final = 24
MAX_LINES: Final = 4
X_LABELS: Final = 8


@dataclass(frozen=True, slots=True)
class Bar:
    """A value of a period of time; None if there is none. Positions are in the units of the drawing."""

    start: datetime
    value: float | None
    text: str
    x: float
    y: float
    width: float
    height: float
    has_label: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars, and the positions and texts of the grid lines."""

    bars: Sequence[Bar]
    lines: Sequence[tuple[float, str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    below: int = BELOW


def bar_chart(
    values: Sequence[tuple[datetime, float | None]], text_of: Callable[[float], str], *, whole: bool = False
) -> Chart:
    """A chart of values over time. ``text_of``: the text of a value; ``whole``: values are whole numbers."""
    highest = max((value for _, value in values if value is not None), default=0)
    step = _step(highest, 1 if whole else 0)
    top = step * max(1, math.ceil(highest / step))
    width = (WIDTH - LEFT) / max(1, len(values))
    every = -(-len(values) // X_LABELS)
    bars = []
    for number, (start, value) in enumerate(values):
        height = HEIGHT * (value or 0) / top
        shown = "" if value is None else text_of(value)
        x = LEFT + number * width
        bars.append(Bar(start, value, shown, x + 1, HEIGHT - height, width - 2, height, number % every == 0))
    count = round(top / step)
    lines = [(HEIGHT - HEIGHT * number / count, text_of(step * number)) for number in range(count + 1)]
    return Chart(bars, lines)


def _step(highest: float, least: float) -> float:
    """The distance of grid lines: 1, 2 or 5 times a power of ten, for at most MAX_LINES."""
    if highest <= 0:
        return least or 1.0
    power = 10.0 ** math.floor(math.log10(highest / MAX_LINES))
    step = next(factor * power for factor in (1, 2, 5, 10) if highest <= MAX_LINES * factor * power)
    return max(step, least)
