"""OpenVINO, optional (``requirements-openvino.txt``): reads LiteRT and ONNX files, and can calculate in bfloat16."""

from pathlib import Path
from typing import Final

import numpy as np
import openvino
from numpy.typing import NDArray

from app.classifier.manifest import Precision
from app.classifier.runtimes import EMBEDDING, Outputs
from app.domain import ModelBroken

OPTIONS: Final = {
    # A single-threaded network runs in the calling thread. With several threads it hands over to its own, and pinned to
    # cores they block each other: 355 images a second on two cores, against 320 and 195.
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
}


class OpenVINONetwork:
    """A model file, read once and compiled for each session."""

    def __init__(self, path: Path, shape: tuple[int, ...], labels: int, precision: Precision) -> None:
        self._path = path
        self._labels = labels
        # By default it uses bfloat16 on processors that have it, and results differ from other machines.
        self._options = {**OPTIONS, "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
        self._core = openvino.Core()
        # If a mapped file is overwritten, the network mixes both versions.
        self._core.set_property({"ENABLE_MMAP": False})
        try:
            self._network = self._core.read_model(path)
            # A fixed shape, because a dynamic batch costs 13 %.
            self._network.reshape(list(shape))
        except RuntimeError as error:
            raise self._broken(error) from error

    def session(self) -> "_OpenVINOSession":
        """Compile another copy. Raises ModelBroken if the file does not match the manifest."""
        try:
            compiled = self._core.compile_model(self._network, "CPU", self._options)
        except RuntimeError as error:
            raise self._broken(error) from error
        scores = openvino.PartialShape([1, self._labels])
        embedding = next((output for output in compiled.outputs if EMBEDDING in output.names), None)
        for output in compiled.outputs:
            # Other outputs may have dynamic shapes.
            if output.partial_shape == scores and EMBEDDING not in output.names:
                return _OpenVINOSession(compiled.create_infer_request(), output, embedding)
        raise ModelBroken(f"{self._path} has no output of {self._labels} scores, one per label.")

    def _broken(self, error: RuntimeError) -> ModelBroken:
        return ModelBroken(f"OpenVINO cannot load {self._path}: {str(error).splitlines()[-1]}")


class _OpenVINOSession:
    def __init__(
        self, request: openvino.InferRequest, scores: openvino.ConstOutput, embedding: openvino.ConstOutput | None
    ) -> None:
        self._request = request
        self._scores = scores
        self._embedding = embedding

    def run(self, tensor: NDArray[np.float32]) -> Outputs:
        self._request.infer([tensor], share_inputs=True)
        scores = self._request.get_tensor(self._scores).data[0].copy()
        if self._embedding is None:
            return Outputs(scores, None)
        return Outputs(scores, self._request.get_tensor(self._embedding).data[0].copy())
