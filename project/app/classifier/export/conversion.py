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
    difference = float(np.abs(litert_answers(lite, tensors, network.classes) - network.answers(tensors)).max())
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


def litert_answers(lite: bytes, tensors: Tensor, classes: int) -> Tensor:
    """Scores of a LiteRT file: float32 (batch, classes) for (batch, size, size, 3)."""
    interpreter = Interpreter(model_content=lite)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    (answer,) = [one["index"] for one in interpreter.get_output_details() if tuple(one["shape"]) == (1, classes)]
    answers = []
    for tensor in tensors:
        interpreter.set_tensor(given, tensor[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(answer)[0])
    return np.stack(answers)
