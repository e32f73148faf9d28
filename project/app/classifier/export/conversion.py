"""Converts Keras models and SavedModels to LiteRT, and verifies that both give the same scores."""

import contextlib
import io
import logging
import re
from typing import Any, Final

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from tensorflow.lite.python.convert_phase import ConverterError

from app.classifier.export.networks import SourceNetwork, reference_tensors
from app.domain import StartupError
from app.observability.log_events import EXPORT_COMPARED

log = logging.getLogger(__name__)

TOLERANCE: Final = 1e-3

Tensor = NDArray[np.float32]


def to_litert(network: SourceNetwork) -> bytes:
    """A float32 LiteRT file. Raises StartupError if its scores differ from the original's."""
    lite = _convert(network.converter())
    tensors = reference_tensors(network.input)
    difference = float(np.abs(litert_scores(lite, tensors, network.classes) - network.scores(tensors)).max())
    if not difference < TOLERANCE:
        raise StartupError(
            f"The converted model's scores differ from the original's by {difference:.2g}, so it was discarded."
        )
    log.info(EXPORT_COMPARED, difference)
    return lite


def _convert(converter: Any) -> bytes:
    # The converter prints every variable to standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            lite: bytes = converter.convert()
        except ConverterError as error:
            raise StartupError(f"The model cannot be converted to LiteRT: {_reason(str(error))}") from error
    return lite


def _reason(dump: str) -> str:
    """The reason in a converter's report: operations that LiteRT does not have, or else its first line."""
    lacking = dict.fromkeys(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", dump))
    return f"LiteRT has no {', '.join(lacking)}." if lacking else dump.strip().splitlines()[0]


def litert_scores(lite: bytes, tensors: Tensor, classes: int) -> Tensor:
    """Scores of a LiteRT file: float32 (batch, classes) for (batch, size, size, 3)."""
    interpreter = Interpreter(model_content=lite)
    interpreter.allocate_tensors()
    input_index = interpreter.get_input_details()[0]["index"]
    (output_index,) = [
        output["index"] for output in interpreter.get_output_details() if tuple(output["shape"]) == (1, classes)
    ]
    scores = []
    for tensor in tensors:
        interpreter.set_tensor(input_index, tensor[np.newaxis])
        interpreter.invoke()
        scores.append(interpreter.get_tensor(output_index)[0])
    return np.stack(scores)
