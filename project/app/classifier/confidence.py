"""Confidence that means something: how often a model is right at a confidence, as reviews show.

Of two models that are right equally often, one may say 60 % where the other says 99 %. Temperature scaling (Guo et al.,
2017, "On Calibration of Modern Neural Networks") divides all logits by a number, the temperature, which is fitted to
reviews by maximum likelihood. Of each result, the five best labels are stored: the others are taken as equally
confident, which measured as good as knowing them all (docs/decisions/0046).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MIN_REVIEWS: Final = 100
"""Reviews below which no temperature is fitted."""
MIN_OF_EACH: Final = 10
"""Right and wrong results among them: without the ones or the others, any temperature would do."""
MIN_SURE: Final = 20
"""Reviews with equal weights (``Threshold.effective``) from a threshold on, below which it is not proposed."""
BINS: Final = 10
"""Of the reliability curve, equally wide."""
STRATA: Final = 20
"""Groups of equally many predictions by confidence, of which reviews may cover some better than others."""
MIN_TEMPERATURE: Final = 0.05
MAX_TEMPERATURE: Final = 20.0
EPSILON: Final = 1e-6
"""Confidences have six digits, so one of 0 may have been a little more."""
TOLERANCE: Final = 1e-3
"""By how much confidences may add up to more than 1."""
TRIED: Final = 32
"""Temperatures that are tried at once, evenly spaced by their logarithm."""
ROUNDS: Final = 5
"""Each looks between the neighbours of the best one so far: the last spacing is below 1e-5."""

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """Reviewed results of a version of a model; arrays of the same length."""

    scores: Numbers
    """Confidences of the best labels, 0..1, highest first: shape (results, labels), padded with zeros."""
    labels: int
    """Number of all labels of the model."""
    correct: Flags
    """Whether people say that the label is right."""
    weights: Numbers
    """How many predictions each stands for, on average 1."""
    population: Numbers
    """Confidences of all predictions, or of many of them."""

    @property
    def confidences(self) -> Numbers:
        """Of the best labels: shape (results,)."""
        return self.scores[:, 0]


@dataclass(frozen=True, slots=True)
class Bin:
    """Reviews of results with a confidence from ``low`` to below ``high``; means are weighted."""

    low: float
    high: float
    reviews: int
    confidence: float | None
    """Mean confidence; None without reviews, as ``accuracy``."""
    accuracy: float | None
    calibrated: float | None
    """Mean calibrated confidence; None also without a temperature."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A confidence from which results are as often right as wanted."""

    sure_from: float
    precision: float
    """Estimated share of right results among those that are sure."""
    reviews: int
    """Of results that are sure."""
    effective: float
    """Reviews with equal weights that would say as much: for intervals (Kish, 1965)."""
    sure: float
    """Share of all predictions that are sure."""


def weighted(
    scores: Sequence[Sequence[float]], labels: int, correct: Sequence[bool], population: Sequence[float]
) -> Reviewed:
    """Reviews with weights that make them represent all predictions, whose confidences are ``population``.

    People review uncertain results first. Which results they review depends on the confidence alone, so that reviews of
    a stratum stand for all predictions of that stratum. ``scores``: of the best labels of each result, ``labels``: the
    number of all labels of the model.
    """
    padded = np.zeros((len(scores), max((len(row) for row in scores), default=1)))
    for number, row in enumerate(scores):
        padded[number, : len(row)] = row
    given = padded[:, 0]
    # A model that has only classified what others had classified has too few predictions of its own.
    everything = np.asarray(population, np.float64) if len(population) >= len(scores) else given
    weights = np.ones(len(given))
    if len(given):
        # Inner bounds only, so that everything belongs to a stratum.
        bounds = np.unique(np.quantile(everything, np.linspace(0, 1, STRATA + 1)[1:-1]))
        stratum, of_all = np.digitize(given, bounds), np.digitize(everything, bounds)
        count = len(bounds) + 1
        covered = np.bincount(stratum, minlength=count)
        weights = (np.bincount(of_all, minlength=count) / np.maximum(covered, 1))[stratum]
        # A stratum of reviews may be empty among all predictions if those were deleted.
        weights = weights / weights.mean() if weights.any() else np.ones(len(given))
    return Reviewed(padded, labels, np.asarray(correct, np.bool_), weights, everything)


def missing_reviews(correct: Flags) -> int:
    """How many more reviews a temperature needs at least; 0 if there are enough."""
    right = int(correct.sum())
    wrong = len(correct) - right
    return max(MIN_REVIEWS - len(correct), MIN_OF_EACH - right, MIN_OF_EACH - wrong, 0)


def fit_temperature(results: Reviewed) -> float:
    """The temperature under which it is most likely that the labels are right and wrong as reviewed.

    Above 1 if the model is too confident. Without weights: which results were reviewed depends on their confidence
    alone, and the likelihood is conditional on it.
    """
    low, high = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)
    best = 0.0
    for _ in range(ROUNDS):
        tried = np.linspace(low, high, TRIED)
        best = float(tried[np.argmax([_likelihood(results, math.exp(one)) for one in tried])])
        step = float(tried[1] - tried[0])
        low, high = max(best - step, low), min(best + step, high)
    return math.exp(best)


def calibrate(scores: Sequence[float], labels: int, temperature: float) -> float:
    """The confidence of the best label with a temperature applied, 0..1; arguments as in ``calibrate_all``."""
    return float(calibrate_all(np.asarray([scores], np.float64), labels, temperature)[0])


def calibrate_all(scores: Numbers, labels: int, temperature: float) -> Numbers:
    """Confidences of the best labels with a temperature applied: shape (results,), 0..1.

    ``scores``: confidences of the best labels, highest first, of shape (results, labels), padded with zeros.
    ``labels``: the number of all labels of the model.
    """
    best, runners_up = np.maximum(scores[:, 0], EPSILON), scores[:, 1:].copy()
    if runners_up.size:
        # Of a model whose labels do not exclude each other: the label applies or not.
        are_independent = scores.sum(axis=1) > 1 + TOLERANCE
        runners_up[are_independent] = 0
        runners_up[are_independent, 0] = 1 - best[are_independent]
    others = max(labels - scores.shape[1], 0)
    rest = np.maximum(1 - best - runners_up.sum(axis=1), 0) if others else np.zeros(len(best))
    # Divided by the best one, so that no power is out of range.
    against = ((runners_up / best[:, np.newaxis]) ** (1 / temperature)).sum(axis=1)
    against += others * (rest / max(others, 1) / best) ** (1 / temperature)
    return np.asarray(1 / (1 + against), np.float64)


def reliability(results: Reviewed, calibrated: Numbers | None) -> list[Bin]:
    """The reliability curve: accuracy by the model's confidence. ``calibrated``: the calibrated confidences, if any."""
    numbers = _bins_of(results.confidences)
    curve = []
    for number in range(BINS):
        chosen = numbers == number
        weights = results.weights[chosen]

        def mean(values: NDArray[Any] | None, chosen: Flags = chosen, weights: Numbers = weights) -> float | None:
            return None if values is None or not weights.sum() else float(np.average(values[chosen], weights=weights))

        curve.append(
            Bin(
                number / BINS,
                (number + 1) / BINS,
                int(chosen.sum()),
                mean(results.confidences),
                mean(results.correct),
                mean(calibrated),
            )
        )
    return curve


def calibration_error(results: Reviewed, confidences: Numbers) -> float:
    """Expected calibration error: the mean distance between confidence and accuracy of the bins, 0..1.

    ``confidences``: of the best labels, the model's or calibrated ones.
    """
    gaps = np.bincount(_bins_of(confidences), (confidences - results.correct) * results.weights, BINS)
    return float(np.abs(gaps).sum() / results.weights.sum())


def threshold_for(results: Reviewed, precision: float) -> Threshold | None:
    """The lowest confidence from which a share of ``precision`` is right; None if no reviews show one."""
    order = np.argsort(results.confidences)[::-1]
    confidences, weights = results.confidences[order], results.weights[order]
    sums = np.cumsum(weights)
    shares = np.cumsum(results.correct[order] * weights) / np.maximum(sums, EPSILON)
    # Equal confidences are on one side of a threshold.
    is_last = np.append(confidences[:-1] != confidences[1:], True) if len(confidences) else np.zeros(0, np.bool_)
    # Reviews with equal weights that would say as much (Kish, 1965).
    effective = sums**2 / np.maximum(np.cumsum(weights**2), EPSILON)
    enough = effective >= MIN_SURE - EPSILON
    (possible,) = np.nonzero(is_last & enough & (shares >= precision))
    if not len(possible):
        return None
    last = int(possible[-1])
    return Threshold(
        sure_from=float(confidences[last]),
        precision=float(shares[last]),
        reviews=last + 1,
        effective=float(effective[last]),
        sure=float((results.population >= confidences[last]).mean()),
    )


def _bins_of(confidences: Numbers) -> NDArray[np.int64]:
    return np.minimum((confidences * BINS).astype(np.int64), BINS - 1)


def _likelihood(results: Reviewed, temperature: float) -> float:
    """Logarithm of the likelihood of the reviews."""
    sure = np.clip(calibrate_all(results.scores, results.labels, temperature), EPSILON, 1 - EPSILON)
    return float(np.log(np.where(results.correct, sure, 1 - sure)).sum())
