"""Intervals of shares, and tests of whether one of two models is right more often."""

import math

import numpy as np
import pytest

from app.classifier.intervals import difference, mcnemar, wilson_interval


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        # Binomial distribution with a half: 2 / 2**n, 2 * (1 + n) / 2**n.
        (0, 5, 2 / 32),
        (10, 0, 2 / 1024),
        (1, 9, 2 * 11 / 1024),
        (1, 2, 1.0),
    ],
)
def test_significance_is_that_of_the_binomial_distribution(first: int, second: int, expected: float) -> None:
    assert mcnemar(first, second) == pytest.approx(expected)


def test_significance_of_many_images_is_in_range() -> None:
    assert mcnemar(50_000, 50_000) == 1
    assert 0 <= mcnemar(40_000, 60_000) < 1e-100
    # The normal approximation, which holds for many.
    z = (5_100 - 4_900 - 1) / math.sqrt(10_000)
    assert mcnemar(4_900, 5_100) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.01)


def test_difference_is_that_of_the_accuracies() -> None:
    share, low, high = difference(200, 8, 24)
    assert share == 0.08
    assert (round(low, 4), round(high, 4)) == (0.0246, 0.1339)


def test_interval_stays_within_what_is_possible() -> None:
    for total, first, second in ((1, 1, 0), (1, 0, 1), (0, 0, 0), (3, 0, 0), (10, 10, 0)):
        _, low, high = difference(total, first, second)
        assert -1 <= low <= high <= 1


def test_interval_covers_the_truth_in_about_95_percent() -> None:
    chance = np.random.default_rng(2)
    outcomes = chance.multinomial(120, [0.7, 0.05, 0.15, 0.1], size=2_000)
    covered = 0
    for _, first, second, _ in outcomes.tolist():
        _, low, high = difference(120, first, second)
        covered += low <= 0.1 <= high
    assert 0.93 < covered / 2_000 < 0.975


def test_wilson_interval_is_that_of_the_literature() -> None:
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    expected = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (part, total), bounds in expected.items():
        assert wilson_interval(part, total) == pytest.approx(bounds, abs=5e-5)
