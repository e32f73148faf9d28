"""Activations: functions from a network's output to scores."""

from collections.abc import Callable
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Activation = Literal["none", "softmax", "sigmoid"]
Scores = NDArray[np.float32]


def _softmax(logits: Scores) -> Scores:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores: Scores = powers / powers.sum(axis=-1, keepdims=True)
    return scores


def _sigmoid(logits: Scores) -> Scores:
    # Half of the hyperbolic tangent, which cannot overflow.
    scores: Scores = 0.5 * (1 + np.tanh(0.5 * logits))
    return scores


ACTIVATIONS: Final[dict[Activation, Callable[[Scores], Scores]]] = {
    "none": lambda scores: scores,
    "softmax": _softmax,
    "sigmoid": _sigmoid,
}
"""Functions of float32 arrays of shape (…, labels)."""
