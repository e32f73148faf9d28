"""OpenVINO, an extra (``requirements-openvino.txt``): for int8 as fast as ONNX Runtime, or faster; reads its files."""

from pathlib import Path
from typing import Final

import numpy as np
import openvino
from numpy.typing import NDArray

from app.domain import ModelBroken

OPTIONS: Final = {
    # A network of one thread runs in the thread that calls it; with several it hands over to threads of its own, and
    # pinned to cores they get into each other's way: 355 images a second on two cores, against 320 and 195.
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
    # Left to itself it takes bfloat16 where the processor has it, and answers otherwise than on others.
    "INFERENCE_PRECISION_HINT": "f32",
}


class OpenVINONetwork:
    """A network's file, read once and compiled for each session."""

    def __init__(self, path: Path, shape: tuple[int, ...], labels: int) -> None:
        self._path = path
        self._labels = labels
        self._core = openvino.Core()
        try:
            self._network = self._core.read_model(path)
            # Fixed, since a dynamic batch costs it 13 %.
            self._network.reshape(list(shape))
        except RuntimeError as error:
            raise self._broken(error) from error

    def session(self) -> "_OpenVINOSession":
        """One more copy. Raises ModelBroken where the file is no such network."""
        try:
            compiled = self._core.compile_model(self._network, "CPU", OPTIONS)
        except RuntimeError as error:
            raise self._broken(error) from error
        scores = openvino.PartialShape([1, self._labels])
        for output in compiled.outputs:
            # Another output may have no shape of its own.
            if output.partial_shape == scores:
                return _OpenVINOSession(compiled.create_infer_request(), output)
        raise ModelBroken(f"{self._path} has no output of {self._labels} scores, one for each label.")

    def _broken(self, error: RuntimeError) -> ModelBroken:
        return ModelBroken(f"OpenVINO cannot load {self._path}: {str(error).splitlines()[-1]}")


class _OpenVINOSession:
    def __init__(self, request: openvino.InferRequest, scores: openvino.ConstOutput) -> None:
        self._request = request
        self._scores = scores

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        self._request.infer([tensor], share_inputs=True)
        scores: NDArray[np.float32] = self._request.get_tensor(self._scores).data[0].copy()
        return scores
