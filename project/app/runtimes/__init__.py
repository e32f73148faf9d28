"""What runs a network: LiteRT, ONNX Runtime, and OpenVINO where it is installed, behind one small interface."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain import ModelBroken
from app.manifest import RuntimeName


class Session(Protocol):
    """A network as one thread at a time may use it."""

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network answers to a tensor of its input's shape: float32 of shape (labels,)."""


class Network(Protocol):
    """A network that is loaded: what all threads share of it."""

    def session(self) -> Session:
        """One more way into it, for one more thread."""


def load_network(runtime: RuntimeName, path: Path, shape: tuple[int, ...], labels: int) -> Network:
    """Load a network's file.

    ``shape``: of the float32 tensors it will be given; ``labels``: how many scores it has to answer with.
    Raises ModelBroken where the file cannot be loaded or takes or gives something else.
    """
    # Each is imported when it is needed: most services use one, and OpenVINO is not everywhere.
    if runtime == "litert":
        from app.runtimes.litert import LiteRTNetwork

        return LiteRTNetwork(path, shape, labels)
    if runtime == "onnx":
        from app.runtimes.onnx import OnnxNetwork

        return OnnxNetwork(path, shape, labels)
    try:
        from app.runtimes.openvino import OpenVINONetwork
    except ModuleNotFoundError as error:
        raise ModelBroken(
            f"{path.parent} wants the runtime openvino: install it with `make openvino` (requirements-openvino.txt)."
        ) from error
    return OpenVINONetwork(path, shape, labels)
