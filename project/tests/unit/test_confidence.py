"""Temperatures, reliability and thresholds from reviews."""

import json
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.classifier.confidence import (
    MIN_OF_EACH,
    MIN_REVIEWS,
    MIN_SURE,
    Reviewed,
    calibrate,
    calibrate_all,
    calibration_error,
    fit_temperature,
    missing_reviews,
    reliability,
    threshold_for,
    weighted,
)

SCIKIT_LEARN = """
import json, sys
import numpy as np
from sklearn.linear_model import LogisticRegression

data = json.load(sys.stdin)
# Of two labels, the temperature divides the logit of the best one.
model = LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-10)
model.fit(np.array(data["logits"])[:, np.newaxis], data["correct"])
print(1 / model.coef_[0, 0])
"""


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def results(temperature: float, *, labels: int, count: int = 4_000, stored: int = 5) -> Reviewed:
    """Results of a model whose logits are too large by a factor, and whether they are right."""
    chance = np.random.default_rng(1)
    logits = chance.normal(0, 2.5, (count, labels))
    truth = np.array([chance.choice(labels, p=row) for row in softmax(logits)])
    given = softmax(temperature * logits)
    order = np.argsort(given, axis=1)[:, ::-1][:, :stored]
    scores = np.take_along_axis(given, order, axis=1)
    correct = order[:, 0] == truth
    return weighted(scores.tolist(), labels, correct.tolist(), [])


def reviewed(pairs: list[tuple[float, bool]], population: list[float] | None = None) -> Reviewed:
    return weighted([[confidence] for confidence, _ in pairs], 10, [right for _, right in pairs], population or [])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_of_an_overconfident_or_underconfident_model_is_found(temperature: float) -> None:
    assert fit_temperature(results(temperature, labels=5)) == pytest.approx(temperature, rel=0.05)


def test_five_best_labels_of_many_suffice() -> None:
    given = results(2.0, labels=200)
    calibrated = calibrate_all(given.scores, given.labels, fit_temperature(given))
    before = calibration_error(given, given.confidences)
    assert before > 0.1
    assert calibration_error(given, calibrated) < 0.25 * before


def test_scikit_learn_finds_the_same_temperature() -> None:
    python = os.environ.get("TEST_TABULAR_PYTHON")
    if not python or not Path(python).exists():
        pytest.skip("the environment with scikit-learn is not installed: `make test` does it")
    given = results(1.7, labels=2, count=1_000, stored=2)
    logits = np.log(given.scores[:, 0] / given.scores[:, 1])
    text = json.dumps({"logits": logits.tolist(), "correct": given.correct.tolist()})
    done = subprocess.run([python, "-c", SCIKIT_LEARN], input=text, check=True, capture_output=True, text=True)
    assert fit_temperature(given) == pytest.approx(float(done.stdout), rel=1e-3)


def test_temperature_of_one_changes_nothing() -> None:
    assert calibrate([0.6, 0.2, 0.1, 0.05, 0.01], 1_000, 1.0) == pytest.approx(0.6)


@pytest.mark.parametrize("scores", [[1.0, 0, 0, 0, 0], [0.000001] * 5, [0.0] * 5, [1.0], [0.5, 0.5]])
@pytest.mark.parametrize("labels", [2, 5, 1_000])
@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_calibrated_confidence_is_a_share(scores: list[float], labels: int, temperature: float) -> None:
    calibrated = calibrate(scores, labels, temperature)
    assert math.isfinite(calibrated)
    assert 0 <= calibrated <= 1


def test_labels_that_do_not_exclude_each_other_are_calibrated_one_by_one() -> None:
    assert calibrate([0.9, 0.8, 0.7], 80, 1.0) == pytest.approx(0.9)
    assert calibrate([0.9, 0.8, 0.7], 80, 2.0) == pytest.approx(1 / (1 + math.sqrt(0.1 / 0.9)))


def test_calibration_keeps_the_order_of_results_with_the_same_runners_up() -> None:
    confidences = [calibrate([share, (1 - share) / 2, (1 - share) / 2], 3, 1.8) for share in (0.4, 0.6, 0.8, 0.99)]
    assert confidences == sorted(confidences)


@pytest.mark.parametrize(
    ("right", "wrong", "missing"),
    [(0, 0, MIN_REVIEWS), (60, 20, 20), (99, 1, 9), (1, 99, 9), (90, 10, 0), (200, 9, 1), (500, 0, MIN_OF_EACH)],
)
def test_temperature_needs_enough_reviews_of_both_kinds(right: int, wrong: int, missing: int) -> None:
    assert missing_reviews(np.array([True] * right + [False] * wrong)) == missing


def test_reliability_is_accuracy_by_confidence() -> None:
    given = reviewed([(0.95, True)] * 9 + [(0.91, False)] + [(0.15, False)] * 3 + [(1.0, True)])
    curve = reliability(given, given.confidences)
    assert [one.reviews for one in curve] == [0, 3, 0, 0, 0, 0, 0, 0, 0, 11]
    assert curve[9].accuracy == pytest.approx(10 / 11)
    assert curve[9].confidence == pytest.approx((9 * 0.95 + 0.91 + 1) / 11)
    assert curve[9].calibrated == curve[9].confidence
    assert curve[1].accuracy == 0
    assert curve[0].accuracy is curve[0].confidence is curve[0].calibrated is None


def test_calibration_error_is_the_mean_distance_of_the_bins() -> None:
    given = reviewed([(0.9, True)] * 5 + [(0.9, False)] * 5 + [(0.3, True)] * 10)
    assert calibration_error(given, given.confidences) == pytest.approx((0.4 * 10 + 0.7 * 10) / 20)


def test_threshold_is_the_lowest_confidence_with_the_wanted_precision() -> None:
    given = reviewed([(0.9, True)] * 30 + [(0.8, True)] * 27 + [(0.8, False)] * 3 + [(0.2, False)] * 40)
    found = threshold_for(given, 0.95)
    assert found
    assert found.sure_from == 0.8
    assert found.precision == pytest.approx(0.95)
    assert found.reviews == 60
    assert found.sure == pytest.approx(0.6)
    stricter = threshold_for(given, 0.96)
    assert stricter
    assert (stricter.sure_from, stricter.precision) == (0.9, 1)


def test_no_threshold_is_proposed_from_few_reviews() -> None:
    assert threshold_for(reviewed([(0.9, True)] * (MIN_SURE - 1)), 0.95) is None
    assert threshold_for(reviewed([(0.9, True)] * MIN_SURE), 0.95)
    assert threshold_for(reviewed([]), 0.95) is None
    assert threshold_for(reviewed([(0.9, False)] * 100), 0.95) is None


def test_reviews_of_uncertain_results_do_not_count_as_often_as_they_occur() -> None:
    # Nine in ten predictions are certain, but most reviews are of the others.
    population = [0.95 + n / 20_000 for n in range(900)] + [0.3 + n / 20_000 for n in range(100)]
    pairs = [(0.95 + n / 400, n != 0) for n in range(18)] + [(0.3 + n / 20_000, n % 2 == 0) for n in range(100)]
    given = reviewed(pairs, population)
    assert given.weights[:18].sum() / given.weights.sum() == pytest.approx(0.9, abs=0.02)
    found = threshold_for(given, 0.8)
    assert found
    # All predictions together: 0.9 * 17 / 18 + 0.1 * 0.5 = 0.9 are right.
    assert found.sure_from == pytest.approx(0.3, abs=0.01)
    assert found.precision == pytest.approx(0.9, abs=0.02)
    assert found.sure == 1
