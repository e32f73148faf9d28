"""OpenVINO, an extra (``requirements-openvino.txt``): the fastest for int8 on Intel's CPUs; reads the others' files."""

from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from app.domain import ModelBroken


class OpenVINONetwork:
    """A network compiled once; each session is one of its requests, with a core of its own."""

    def __init__(self, path: Path, shape: tuple[int, ...], labels: int, threads: int) -> None:
        core = openvino.Core()
        try:
            network = core.read_model(path)
            # Fixed, since a dynamic batch costs it 13 %.
            network.reshape(list(shape))
            # Left to itself it takes bfloat16 where the processor has it, and answers otherwise than on others.
            options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads, "INFERENCE_PRECISION_HINT": "f32"}
            self._compiled = core.compile_model(network, "CPU", options)
        except RuntimeError as error:
            raise ModelBroken(f"OpenVINO cannot load {path}: {str(error).splitlines()[-1]}") from error
        scores = [output for output in self._compiled.outputs if tuple(output.shape) == (1, labels)]
        if not scores:
            raise ModelBroken(f"{path} has no output of {labels} scores, one for each label.")
        self._scores = scores[0]

    def session(self) -> "_OpenVINOSession":
        """One more request."""
        return _OpenVINOSession(self._compiled.create_infer_request(), self._scores)


class _OpenVINOSession:
    def __init__(self, request: openvino.InferRequest, scores: openvino.ConstOutput) -> None:
        self._request = request
        self._scores = scores

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        self._request.infer([tensor], share_inputs=True)
        scores: NDArray[np.float32] = self._request.get_tensor(self._scores).data[0].copy()
        return scores
