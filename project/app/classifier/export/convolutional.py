"""Networks of convolutions, average pooling and one dense layer, such as MobileNetV2.

Batch norms are folded into the convolutions. ``litert_file.py`` and ``onnx_file.py`` write such a network as a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.classifier.activations import ACTIVATIONS

EPSILON: Final = 1e-3
"""Of the batch norms of MobileNetV2 and EfficientNet-Lite0."""
RELU6: Final = 6.0

Tensor = NDArray[np.float32]


class BatchNorm(NamedTuple):
    """The weights of a batch norm, each of shape (channels,)."""

    gamma: Tensor
    beta: Tensor
    mean: Tensor
    variance: Tensor


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution of square images, with TensorFlow's SAME padding: n pixels become ceil(n / stride)."""

    weights: Tensor
    """(rows, columns, channels, outputs); of a depthwise convolution, (rows, columns, channels, 1)."""
    bias: Tensor
    stride: int = 1
    depthwise: bool = False
    relu6: bool = True
    shortcut: int | None = None
    """The number of an earlier convolution whose result is added to this one's."""

    @property
    def kernel(self) -> int:
        """Rows, and columns, of the kernel."""
        return int(self.weights.shape[0])

    def padding(self, side: int) -> tuple[int, int]:
        """Zeros before and after the pixels of an image with ``side`` pixels, in both directions."""
        total = max((self.side(side) - 1) * self.stride + self.kernel - side, 0)
        return total // 2, total - total // 2

    def side(self, side: int) -> int:
        """Pixels of a side of the result."""
        return -(-side // self.stride)

    def __call__(self, image: Tensor) -> Tensor:
        """The result for an image, float32 of shape (side, side, channels), without a shortcut."""
        side, padding = self.side(image.shape[0]), self.padding(image.shape[0])
        padded = np.pad(image, (padding, padding, (0, 0)))
        reach = (side - 1) * self.stride + 1
        result: Tensor = np.broadcast_to(self.bias, (side, side, len(self.bias))).copy()
        for row in range(self.kernel):
            for column in range(self.kernel):
                part = padded[row : row + reach : self.stride, column : column + reach : self.stride]
                weights = self.weights[row, column]
                result += part * weights[:, 0] if self.depthwise else part @ weights
        return result.clip(0, RELU6) if self.relu6 else result


@dataclass(frozen=True, slots=True)
class ConvolutionalNetwork:
    """Convolutions, the mean over all positions, a dense layer, and softmax."""

    size: int
    """Pixels of a side of the input, of shape (size, size, 3)."""
    convolutions: Sequence[Convolution]
    dense: Tensor
    """(features, labels)"""
    bias: Tensor

    @property
    def labels(self) -> int:
        """Number of scores."""
        return len(self.bias)

    @property
    def features(self) -> int:
        """Length of the embedding: the means that the dense layer gets."""
        return int(self.dense.shape[0])

    def scores(self, tensors: Tensor) -> Tensor:
        """Scores, float32 (batch, labels), for tensors (batch, size, size, 3), with NumPy: slow, for comparisons."""
        return np.stack([self._scores(tensor) for tensor in tensors])

    def _scores(self, image: Tensor) -> Tensor:
        results: list[Tensor] = []
        for convolution in self.convolutions:
            image = convolution(image)
            if convolution.shortcut is not None:
                image = image + results[convolution.shortcut]
            results.append(image)
        return ACTIVATIONS["softmax"](image.mean(axis=(0, 1)) @ self.dense + self.bias)


def fold(weights: Tensor, norm: BatchNorm, *, depthwise: bool) -> tuple[Tensor, Tensor]:
    """The weights and the bias of a convolution that is followed by a batch norm."""
    scale = norm.gamma.astype(np.float64) / np.sqrt(norm.variance.astype(np.float64) + EPSILON)
    bias = norm.beta - norm.mean * scale
    folded = weights * (scale[:, np.newaxis] if depthwise else scale)
    return folded.astype(np.float32), bias.astype(np.float32)
