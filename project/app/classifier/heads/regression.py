"""Multinomial logistic regression with an L2 penalty, as scikit-learn's LogisticRegression computes it (record 39)."""

from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

STRENGTH: Final = 0.05
"""Inverse of the penalty, ``C`` in scikit-learn, for embeddings whose mean length is LENGTH."""
LENGTH: Final = 10.0
MAX_ITERATIONS: Final = 200
TOLERANCE: Final = 1e-4
"""The largest derivative at which the search ends, per example."""
MEMORY: Final = 10
"""Pairs of steps and gradients that approximate the curvature."""
MIN_DECREASE: Final = 1e-4
"""Share of the expected decrease that a step must reach (Armijo's rule)."""
MIN_STEP: Final = 1e-10

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Indexes = NDArray[np.int64]
Objective = Callable[[Doubles], tuple[float, Doubles]]
"""Value and gradient at a point."""


def fit(embeddings: Floats, labels: Indexes, count: int, strength: float = STRENGTH) -> tuple[Floats, Floats]:
    """Weights of shape (features, count) and bias of shape (count,) for embeddings of shape (examples, features).

    ``labels``: 0..count - 1 for each example; each label has the same weight, however many examples it has. The result
    depends on nothing but the arguments.
    """
    examples, features = embeddings.shape
    scale = LENGTH / max(float(np.linalg.norm(embeddings, axis=1).mean()), 1e-12)
    inputs = embeddings.astype(np.float64) * scale
    targets = np.eye(count)[labels]
    sizes = targets.sum(axis=0)
    example_weights = (examples / (count * sizes))[labels][:, np.newaxis]

    def objective(point: Doubles) -> tuple[float, Doubles]:
        weights, bias = point[:-count].reshape(features, count), point[-count:]
        logits = inputs @ weights + bias
        logits -= logits.max(axis=1, keepdims=True)
        log_scores = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        loss = -float((example_weights * targets * log_scores).sum()) + float((weights**2).sum()) / (2 * strength)
        errors = example_weights * (np.exp(log_scores) - targets)
        gradient = np.concatenate(((inputs.T @ errors + weights / strength).ravel(), errors.sum(axis=0)))
        return loss, gradient

    point = minimize(objective, np.zeros((features + 1) * count), TOLERANCE * examples)
    weights, bias = point[:-count].reshape(features, count) * scale, point[-count:]
    return weights.astype(np.float32), bias.astype(np.float32)


def minimize(objective: Objective, point: Doubles, tolerance: float) -> Doubles:
    """The minimum of a smooth convex function by L-BFGS (Nocedal and Wright, Numerical Optimization, algorithm 7.5)."""
    value, gradient = objective(point)
    pairs: deque[tuple[Doubles, Doubles]] = deque(maxlen=MEMORY)
    for _ in range(MAX_ITERATIONS):
        if float(np.abs(gradient).max()) <= tolerance:
            break
        direction = _direction(gradient, pairs)
        slope = float(gradient @ direction)
        step = 1.0 if pairs else min(1.0, 1.0 / float(np.abs(gradient).sum()))
        while True:
            following = point + step * direction
            next_value, next_gradient = objective(following)
            if next_value <= value + MIN_DECREASE * step * slope:
                break
            step /= 2
            if step < MIN_STEP:
                # No further decrease can be computed: this is the minimum as far as numbers go.
                return point
        pairs.append((following - point, next_gradient - gradient))
        point, value, gradient = following, next_value, next_gradient
    return point


def _direction(gradient: Doubles, pairs: deque[tuple[Doubles, Doubles]]) -> Doubles:
    """The quasi-Newton direction (the two-loop recursion, algorithm 7.4). ``pairs``: steps and gradient changes."""
    direction = -gradient
    # Rounding can make a curvature zero: such a pair says nothing.
    used = [(step, change, float(step @ change)) for step, change in pairs if float(step @ change) > 0]
    factors = []
    for step, change, curvature in reversed(used):
        factor = float(step @ direction) / curvature
        direction -= factor * change
        factors.append(factor)
    if used:
        _, change, curvature = used[-1]
        direction *= curvature / float(change @ change)
    for (step, change, curvature), factor in zip(used, reversed(factors), strict=True):
        direction += (factor - float(change @ direction) / curvature) * step
    return direction
