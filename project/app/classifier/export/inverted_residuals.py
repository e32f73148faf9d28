"""The architecture of MobileNetV2 and EfficientNet-Lite0: blocks of inverted residuals (Sandler et al., 2018).

A block expands its channels, filters each of them, and projects them to fewer; its input is added if shapes agree.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from app.classifier.export.convolutional import BatchNorm, Convolution, Tensor, fold

Part = Literal["stem", "expand", "depthwise", "project", "head"]
Read = Callable[[Part, int], tuple[Tensor, BatchNorm]]
"""Reads the weights of a part of a block (0 for the stem and the head), in the order in which parts are applied.

Weights have the shape (rows, columns, channels, outputs), for depthwise convolutions (rows, columns, channels, 1).
"""


class Stage(NamedTuple):
    """Blocks of one width. The first has the stride, the others have 1."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    repeats: int


def inverted_residuals(stages: Sequence[Stage], stem: int, head: int, read: Read) -> list[Convolution]:
    """All convolutions of a network. ``stem`` and ``head``: outputs of the first and the last one.

    Raises ValueError if weights have another shape.
    """

    def convolution(
        part: Part,
        block: int,
        shape: tuple[int, ...],
        *,
        stride: int = 1,
        relu6: bool = True,
        shortcut: int | None = None,
    ) -> Convolution:
        weights, norm = read(part, block)
        depthwise = part == "depthwise"
        outputs = shape[2] if depthwise else shape[3]
        if weights.shape != shape or {array.shape for array in norm} != {(outputs,)}:
            shapes = ", ".join(str(array.shape) for array in (weights, *norm))
            raise ValueError(f"{part} {block} has the shapes {shapes} instead of {shape} and four times ({outputs},)")
        return Convolution(*fold(weights, norm, depthwise=depthwise), stride, depthwise, relu6, shortcut)

    channels, block = stem, 0
    convolutions = [convolution("stem", 0, (3, 3, 3, stem), stride=2)]
    for stage in stages:
        for repeat in range(stage.repeats):
            stride = 1 if repeat else stage.stride
            begin, wide = len(convolutions) - 1, channels * stage.expansion
            shortcut = begin if stride == 1 and channels == stage.channels else None
            if stage.expansion > 1:
                convolutions.append(convolution("expand", block, (1, 1, channels, wide)))
            convolutions.append(convolution("depthwise", block, (stage.kernel, stage.kernel, wide, 1), stride=stride))
            project = (1, 1, wide, stage.channels)
            convolutions.append(convolution("project", block, project, relu6=False, shortcut=shortcut))
            channels = stage.channels
            block += 1
    convolutions.append(convolution("head", 0, (1, 1, channels, head)))
    return convolutions
