"""The sequential test keeps its promise when one looks after every prompt, and finds what is there."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import scipy.stats

from selfboost.statistics.sequential import BETS, SequentialTest


def stopped(differences: np.ndarray, alpha: float = 0.05) -> SequentialTest:
    test = SequentialTest(alpha=alpha)
    for difference in differences:
        if test.add([float(difference)]) != "open":
            break
    return test


def test_no_difference_is_found_where_there_is_none_however_often_one_looks() -> None:
    """400 comparisons of equal models, a look after each of 300 prompts; an ordinary test errs far more often."""
    draws = np.random.default_rng(0).choice([-1.0, -0.5, 0.0, 0.5, 1.0], size=(400, 300))
    wrong = np.mean([stopped(row).verdict != "open" for row in draws])
    assert wrong <= 0.05
    ordinary = np.mean(
        [any(scipy.stats.ttest_1samp(row[:n], 0).pvalue < 0.05 for n in range(20, 300, 20)) for row in draws[:100]]
    )
    assert ordinary > 0.15


@pytest.mark.slow
def test_the_promise_holds_for_skewed_differences() -> None:
    """A model that seldom wins by much and often loses by little: mean 0, as an API judge's verdicts may be."""
    draws = np.where(np.random.default_rng(1).random((400, 300)) < 0.1, 0.9, -0.1)
    assert np.mean([stopped(row).verdict != "open" for row in draws]) <= 0.05


@pytest.mark.parametrize(("mean", "verdict"), [(0.3, "better"), (-0.3, "worse")])
def test_a_real_difference_is_found_early(mean: float, verdict: str) -> None:
    draws = np.clip(np.random.default_rng(2).normal(mean, 0.6, size=(100, 805)), -1, 1)
    found = [stopped(row) for row in draws]
    assert np.mean([test.verdict == verdict for test in found]) > 0.95
    assert np.median([test.count for test in found]) < 150


def test_the_wealth_is_fair_under_every_two_outcome_game() -> None:
    """The mean wealth over all sequences of a fair coin is exactly 1, in rational arithmetic and in ours."""
    exact = sum(
        sum(math.prod(1 + Fraction(bet).limit_denominator(20) * side for side in sides) for bet in BETS)
        for sides in product((-1, 1), repeat=6)
    )
    assert exact == len(BETS) * 2**6
    ours = []
    for sides in product((-1.0, 1.0), repeat=6):
        test = SequentialTest()
        test.add(sides)
        ours.append([math.exp(evidence) for evidence in test.evidence])
    assert np.mean(ours, axis=0) == pytest.approx([1.0, 1.0])


def test_a_verdict_stays() -> None:
    test = SequentialTest()
    assert test.add([1.0] * 30) == "better"
    assert test.add([-1.0] * 300) == "better"


@pytest.mark.parametrize("value", [1.5, -1.01, math.nan, math.inf])
def test_differences_outside_the_bounds_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="values in"):
        SequentialTest().add([value])


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_a_level_outside_its_bounds_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        SequentialTest(alpha=alpha)
