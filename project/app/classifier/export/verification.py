"""Verifies that a converted network returns the scores of the original."""

import logging
from typing import Final

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image

from app.classifier.manifest import InputTable
from app.domain import StartupError
from app.observability.log_events import EXPORT_COMPARED

log = logging.getLogger(__name__)

SEED: Final = 8004
REFERENCE_IMAGES: Final = 10
TOLERANCE: Final = 1e-3

Tensor = NDArray[np.float32]


def reference_tensors(table: InputTable, count: int = REFERENCE_IMAGES) -> Tensor:
    """Tensors for comparisons: smooth random images, float32 (count, size, size, 3), normalized."""
    coarse = np.random.default_rng(SEED).uniform(0, 255, (count, 3, 7, 7)).astype(np.float32)
    size = (table.size, table.size)
    scaled = [[Image.fromarray(one).resize(size, Image.Resampling.BICUBIC) for one in image] for image in coarse]
    pixels = np.asarray(scaled, np.float32).transpose(0, 2, 3, 1).clip(0, 255)
    return np.asarray(pixels * np.asarray(table.scale) + np.asarray(table.offset), np.float32)


def litert_scores(lite: bytes, tensors: Tensor, labels: int) -> Tensor:
    """Scores of a LiteRT file: float32 (batch, labels) for (batch, size, size, 3)."""
    interpreter = Interpreter(model_content=lite)
    interpreter.allocate_tensors()
    input_index = interpreter.get_input_details()[0]["index"]
    output_index = next(
        output["index"] for output in interpreter.get_output_details() if tuple(output["shape"]) == (1, labels)
    )
    scores = []
    for tensor in tensors:
        interpreter.set_tensor(input_index, tensor[np.newaxis])
        interpreter.invoke()
        scores.append(interpreter.get_tensor(output_index)[0])
    return np.stack(scores)


def require_equal_scores(converted: Tensor, original: Tensor) -> None:
    """Raise StartupError if scores (batch, labels) of a converted network differ from the original's."""
    difference = float(np.abs(converted - original).max())
    if not difference < TOLERANCE:
        raise StartupError(
            f"The converted model's scores differ from the original's by {difference:.2g}, so it was discarded."
        )
    log.info(EXPORT_COMPARED, difference, len(original))
