"""MobileNetV2 from the weights that Keras publishes, without Keras (Sandler et al., 2018, arXiv:1801.04381).

Maps float32 (batch, 224, 224, 3) in -1..1 to scores (batch, 1000), which add up to 1.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from app.classifier.export.convolutional import BatchNorm, ConvolutionalNetwork, Tensor
from app.classifier.export.inverted_residuals import Part, Stage, inverted_residuals
from app.domain import StartupError

SIZE: Final = 224
CLASSES: Final = 1000
_STAGES: Final = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(3, 2, 6, 32, 3),
    Stage(3, 2, 6, 64, 4),
    Stage(3, 1, 6, 96, 3),
    Stage(3, 2, 6, 160, 3),
    Stage(3, 1, 6, 320, 1),
)
_STEM: Final = 32
_HEAD: Final = 1280

_Next = Callable[[str], list[Tensor]]
"""Reads the weights of the next layer; the argument is its Keras class, in snake case."""


def read_mobilenet_v2(path: Path) -> ConvolutionalNetwork:
    """The network with the weights of an HDF5 file of Keras 2 or 3. Raises StartupError."""
    try:
        with h5py.File(path) as file:
            next_layer = _layers(file)
            network = _network(next_layer)
            if _has_more(next_layer):
                raise ValueError("it has more layers")
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        # h5py raises all of these for files that are damaged, or have another structure.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StartupError(f"{path} does not contain the weights of MobileNetV2: {reason}.") from error
    return network


def _network(next_layer: _Next) -> ConvolutionalNetwork:
    def read(part: Part, _block: int) -> tuple[Tensor, BatchNorm]:
        (weights,) = next_layer("depthwise_conv2d" if part == "depthwise" else "conv2d")
        return weights, BatchNorm(*next_layer("batch_normalization"))

    convolutions = inverted_residuals(_STAGES, _STEM, _HEAD, read)
    dense, bias = next_layer("dense")
    if (dense.shape, bias.shape) != ((_HEAD, CLASSES), (CLASSES,)):
        raise ValueError(f"the last layer has the shapes {dense.shape} and {bias.shape}")
    return ConvolutionalNetwork(SIZE, convolutions, dense, bias)


def _has_more(next_layer: _Next) -> bool:
    try:
        next_layer("dense")
    except (StopIteration, KeyError):
        return False
    return True


def _layers(file: h5py.File) -> _Next:
    # As Keras does, layers are identified by their order: their names have changed over time.
    if "layers" in file:
        return _keras_3_layers(file["layers"])
    layers = _keras_2_layers(file.get("model_weights", file))

    def next_layer(_kind: str) -> list[Tensor]:
        try:
            return next(layers)
        except StopIteration:
            raise KeyError("it has fewer layers") from None

    return next_layer


def _keras_2_layers(group: Any) -> Iterator[list[Tensor]]:
    for layer in group.attrs["layer_names"]:
        names = group[layer].attrs["weight_names"]
        if len(names):
            yield [_array(group[layer][name]) for name in names]


def _keras_3_layers(group: Any) -> _Next:
    """Keras 3 numbers the layers of each class: ``conv2d``, ``conv2d_1``, and so on."""
    counts: dict[str, int] = {}

    def next_layer(kind: str) -> list[Tensor]:
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        variables = group[f"{kind}_{number}" if number else kind]["vars"]
        return [_array(variables[str(index)]) for index in range(len(variables))]

    return next_layer


def _array(dataset: Any) -> Tensor:
    return np.asarray(dataset, np.float32)
