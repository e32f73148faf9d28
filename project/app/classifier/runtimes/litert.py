"""LiteRT, the default: the lightest runtime, and as fast as any for float32 (record 5)."""

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from app.classifier.runtimes import EMBEDDING, Outputs
from app.domain import ModelBroken


class LiteRTNetwork:
    """A ``.tflite`` file. Each session is a single-threaded interpreter; all share the file's bytes.

    The file is not mapped into memory: if a mapped file is overwritten, the network mixes both versions.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], labels: int) -> None:
        self._path = path
        self._content = path.read_bytes()
        self._shape = shape
        self._labels = labels

    def session(self) -> "_LiteRTSession":
        """Create a session. Raises ModelBroken if the file does not match the manifest."""
        try:
            interpreter = Interpreter(model_content=self._content, num_threads=1)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelBroken(f"LiteRT cannot load {self._path}: {error}") from error
        input_info = interpreter.get_input_details()[0]
        if tuple(input_info["shape"]) != self._shape or input_info["dtype"] is not np.float32:
            raise ModelBroken(
                f"{self._path} expects {input_info['dtype'].__name__} {tuple(input_info['shape'])}, "
                f"but its manifest says float32 {self._shape}."
            )
        outputs = [one for one in interpreter.get_output_details() if one["dtype"] is np.float32]
        embedding = next((one["index"] for one in outputs if _is_embedding(one)), None)
        for output in outputs:
            if tuple(output["shape"]) == (1, self._labels) and output["index"] != embedding:
                return _LiteRTSession(interpreter, input_info["index"], output["index"], embedding)
        raise ModelBroken(f"{self._path} has no float32 output of {self._labels} scores, one per label.")


def _is_embedding(output: dict[str, Any]) -> bool:
    return output["name"] == EMBEDDING and len(output["shape"]) == 2  # noqa: PLR2004 - one row for each image


class _LiteRTSession:
    def __init__(self, interpreter: Interpreter, input_index: int, scores: int, embedding: int | None) -> None:
        self._interpreter = interpreter
        self._input_index = input_index
        self._scores = scores
        self._embedding = embedding

    def run(self, tensor: NDArray[np.float32]) -> Outputs:
        self._interpreter.set_tensor(self._input_index, tensor)
        self._interpreter.invoke()
        scores = self._interpreter.get_tensor(self._scores)[0]
        if self._embedding is None:
            return Outputs(scores, None)
        return Outputs(scores, self._interpreter.get_tensor(self._embedding)[0])
