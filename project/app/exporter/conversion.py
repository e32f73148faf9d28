"""Keras or a SavedModel to a LiteRT file, and the proof that both answer alike."""

import contextlib
import io
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from app.domain import StartupError
from app.exporter.networks import Network, reference_tensors

log = logging.getLogger(__name__)

TOLERANCE: Final = 1e-3
AGREEMENT: Final = 0.9
"""Part of the calibration images that int8 should give the same first label as fp32; with less, it is said loudly."""

Tensor = NDArray[np.float32]


def to_litert(network: Network) -> bytes:
    """A float32 LiteRT file. Raises StartupError where its answers differ from the network's own."""
    lite = _convert(network.converter())
    tensors = reference_tensors(network.input)
    difference = float(np.abs(_answers(lite, tensors, network.classes) - network.answers(tensors)).max())
    if not difference < TOLERANCE:
        raise StartupError(f"The converted model's answers differ from the original's by {difference:.2g}: not kept.")
    log.info("Answers agree with the original's within %.1g", difference)
    return lite


def to_int8_litert(network: Network, calibration: Sequence[Tensor]) -> bytes:
    """An int8 LiteRT file with float32 input and output, whose ranges are those of the calibration tensors.

    The network should answer with logits: probabilities below 1/256 would all become zero.
    """
    converter = network.converter()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([tensor[np.newaxis]] for tensor in calibration)
    lite = _convert(converter)
    tensors = np.stack(calibration)
    same = _answers(lite, tensors, network.classes).argmax(axis=1) == network.answers(tensors).argmax(axis=1)
    told = "int8 gives the label of fp32 for %d of the %d calibration images"
    say: Callable[..., None] = log.info if same.mean() >= AGREEMENT else log.warning
    say(told, same.sum(), len(same))
    return lite


def _convert(converter: Any) -> bytes:
    # The converter tells of every variable on standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        lite: bytes = converter.convert()
    return lite


def _answers(lite: bytes, tensors: Tensor, classes: int) -> Tensor:
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
