"""Runs with TensorFlow: Keras' scores for the tensors of a file. Arguments: model, weights, folder."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from app.classifier.export.efficientnet_lite0 import weights_path
from app.classifier.export.torch_state import read_state_dict


def mobilenet_v2(weights: str) -> keras.Model:
    """Keras' own implementation."""
    return keras.applications.MobileNetV2(weights=weights)


class Reference:
    """EfficientNet-Lite0 as a Keras model, built from the state dict layer by layer."""

    def __init__(self, path: Path) -> None:
        self._state = read_state_dict(path)

    def model(self) -> keras.Model:
        image = keras.Input((224, 224, 3))
        x = self._convolution(image, "_conv_stem", "_bn0", kernel=3, stride=2)
        for name, kernel, stride, expanded, residual in self._blocks():
            shortcut = x
            if expanded:
                x = self._convolution(x, f"{name}._expand_conv", f"{name}._bn0")
            x = self._depthwise(x, name, kernel, stride)
            x = self._convolution(x, f"{name}._project_conv", f"{name}._bn2", activate=False)
            x = layers.Add()([shortcut, x]) if residual else x
        x = layers.GlobalAveragePooling2D()(self._convolution(x, "_conv_head", "_bn1"))
        dense = layers.Dense(1000, activation="softmax")
        scores = dense(x)
        dense.set_weights([self._state["_fc.weight"].T, self._state["_fc.bias"]])
        return keras.Model(image, scores)

    def _blocks(self) -> Iterator[tuple[str, int, int, bool, bool]]:
        """Name, kernel, stride, whether the block expands, whether it has a shortcut; by the shapes of its weights."""
        halving, incoming = {1, 3, 5, 11}, 32
        for number in range(16):
            name = f"_blocks.{number}"
            outgoing = self._state[f"{name}._project_conv.weight"].shape[0]
            kernel = self._state[f"{name}._depthwise_conv.weight"].shape[2]
            stride = 2 if number in halving else 1
            expanded = f"{name}._expand_conv.weight" in self._state
            yield name, kernel, stride, expanded, stride == 1 and incoming == outgoing
            incoming = outgoing

    def _depthwise(self, x: Any, name: str, kernel: int, stride: int) -> Any:
        depthwise = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False)
        x = depthwise(x)
        # PyTorch: (channels, 1, height, width); Keras: (height, width, channels, 1).
        depthwise.set_weights([self._state[f"{name}._depthwise_conv.weight"].transpose(2, 3, 0, 1)])
        return layers.ReLU(6)(self._norm(x, f"{name}._bn1"))

    def _convolution(
        self, x: Any, name: str, norm: str, *, kernel: int = 1, stride: int = 1, activate: bool = True
    ) -> Any:
        weights = self._state[f"{name}.weight"]
        convolution = layers.Conv2D(len(weights), kernel, strides=stride, padding="same", use_bias=False)
        x = convolution(x)
        # PyTorch: (out, in, height, width); Keras: (height, width, in, out).
        convolution.set_weights([weights.transpose(2, 3, 1, 0)])
        x = self._norm(x, norm)
        return layers.ReLU(6)(x) if activate else x

    def _norm(self, x: Any, name: str) -> Any:
        norm = layers.BatchNormalization(epsilon=1e-3)
        x = norm(x)
        norm.set_weights([self._state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")])
        return x


name, weights, folder = sys.argv[1:]
model = mobilenet_v2(weights) if name == "mobilenet_v2" else Reference(weights_path()).model()
inputs = np.load(Path(folder) / "inputs.npy")
np.save(Path(folder) / "scores.npy", np.asarray(model(inputs, training=False)))
# The same weights as Keras 3 and 2 save them.
model.save_weights(Path(folder) / "weights.weights.h5")
model.save(Path(folder) / "model.h5")
