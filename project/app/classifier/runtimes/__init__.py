"""Inference runtimes (LiteRT, ONNX Runtime, and OpenVINO if installed) behind one small interface."""

from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.classifier.manifest import Precision, RuntimeName
from app.domain import ModelBroken

EMBEDDING: Final = "embedding"
"""Name of the output from which custom models learn: (1, features), float32."""


class Outputs(NamedTuple):
    """What a network returns for one image."""

    scores: NDArray[np.float32]
    """Shape (labels,)."""
    embedding: NDArray[np.float32] | None
    """Shape (features,); None if the network has no such output."""


class InferenceSession(Protocol):
    """A loaded network for use by one thread at a time."""

    def run(self, tensor: NDArray[np.float32]) -> Outputs:
        """The outputs for a tensor of the input's shape."""


class Network(Protocol):
    """A loaded network: what all threads share."""

    def session(self) -> InferenceSession:
        """Create a session for another thread."""


def load_network(
    runtime: RuntimeName, path: Path, shape: tuple[int, ...], labels: int, precision: Precision = "fp32"
) -> Network:
    """Load a model file.

    ``shape``: of its float32 input tensor; ``labels``: number of scores it must return;
    ``precision``: of the calculation, where the file does not decide it. Raises ModelBroken if the file
    cannot be loaded or has another input or output.
    """
    # Imported on demand: most installations use one runtime, and OpenVINO is optional.
    if runtime == "litert":
        from app.classifier.runtimes.litert import LiteRTNetwork

        return LiteRTNetwork(path, shape, labels)
    if runtime == "onnx":
        from app.classifier.runtimes.onnx import OnnxNetwork

        return OnnxNetwork(path, shape, labels)
    try:
        from app.classifier.runtimes.openvino import OpenVINONetwork
    except ModuleNotFoundError as error:
        raise ModelBroken(
            f"{path.parent} needs the runtime openvino: install it with `make openvino` (requirements-openvino.txt)."
        ) from error
    return OpenVINONetwork(path, shape, labels, precision)
