"""ONNX Runtime, for tabular models and ``.onnx`` image models. Never reads pickles."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NoSuchFile

from app.classifier.runtimes import EMBEDDING, Outputs
from app.domain import ModelBroken

_UNLOADABLE = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NoSuchFile, NotImplementedError, RuntimeError)


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """A single-threaded session that any number of threads may use concurrently. Raises ModelBroken."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except _UNLOADABLE as error:
        raise ModelBroken(f"ONNX Runtime cannot load {path}: {error}") from error


class OnnxNetwork:
    """An ``.onnx`` file of an image model."""

    def __init__(self, path: Path, shape: tuple[int, ...], labels: int) -> None:
        self._onnx = open_session(path)
        (input_info,) = self._onnx.get_inputs()
        # Dynamic axes have names instead of lengths.
        fits = len(input_info.shape) == len(shape) and all(
            length == wanted or not isinstance(length, int)
            for length, wanted in zip(input_info.shape, shape, strict=True)
        )
        if not fits or input_info.type != "tensor(float)":
            raise ModelBroken(
                f"{path} expects {input_info.type} {input_info.shape}, but its manifest says float32 {shape}."
            )
        self._input_name = input_info.name
        results = self._onnx.run(None, {self._input_name: np.zeros(shape, np.float32)})
        names = [output.name for output in self._onnx.get_outputs()]
        scores = [
            name
            for name, output in zip(names, results, strict=True)
            if np.shape(output) == (1, labels) and name != EMBEDDING
        ]
        if not scores:
            raise ModelBroken(f"{path} has no output of {labels} scores, one per label.")
        self._names = [scores[0], EMBEDDING] if EMBEDDING in names else scores[:1]

    def session(self) -> "OnnxNetwork":
        """The same object: threads need nothing of their own."""
        return self

    def run(self, tensor: NDArray[np.float32]) -> Outputs:
        """The outputs for a tensor of the input's shape."""
        scores, *embedding = self._onnx.run(self._names, {self._input_name: tensor})
        return Outputs(scores[0], embedding[0][0] if embedding else None)
