"""Converts Keras models and SavedModels to LiteRT, and verifies that both give the same scores."""

import contextlib
import io
import logging
import re
from typing import Final

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from app.classifier.activations import ACTIVATIONS
from app.classifier.export.networks import SourceNetwork, one_line, reference_tensors
from app.domain import StartupError
from app.observability.log_events import EXPORT_COMPARED

log = logging.getLogger(__name__)

TOLERANCE: Final = 1e-3

Tensor = NDArray[np.float32]


def to_litert(network: SourceNetwork) -> bytes:
    """A float32 LiteRT file. Raises StartupError if its scores differ from the original's."""
    lite = _convert(network)
    tensors, activate = reference_tensors(network.input), ACTIVATIONS[network.activation]
    converted, original = litert_scores(lite, tensors, network.classes), network.scores(tensors)
    difference = float(np.abs(activate(converted) - activate(original)).max())
    if not difference < TOLERANCE:
        raise StartupError(
            f"The converted model's scores differ from the original's by {difference:.2g}, so it was discarded."
        )
    log.info(EXPORT_COMPARED, difference, len(tensors))
    return lite


def _convert(network: SourceNetwork) -> bytes:
    # The converter prints every variable to standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            lite: bytes = network.converter().convert()
        except Exception as error:
            # Layers, TensorFlow and the converter raise errors of any type.
            raise StartupError(f"The model cannot be converted to LiteRT: {_reason(error)}") from error
    return lite


def _reason(error: Exception) -> str:
    """The reason in a converter's report: operations that LiteRT does not have, or else its first line."""
    text = str(error)
    lacking = dict.fromkeys(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", text))
    if lacking:
        return f"LiteRT has no {', '.join(lacking)}."
    refused = dict.fromkeys(re.findall(r"(?:operation |error: )'(?:tfl?\.)?(\w+)'", text))
    if refused or text.startswith("<unknown>"):
        return f"its converter does not support {', '.join(refused) or 'one of its operations'} as it is used here."
    return one_line(error)


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
