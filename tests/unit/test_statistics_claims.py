"""Claims over run seeds, and what a number of prompts can show, against scipy and simulation."""

import numpy as np
import pytest
import scipy.stats

from selfboost.statistics import paired_gain
from selfboost.statistics.claims import detectable, over_seeds


def test_the_interval_over_seeds_is_students() -> None:
    gains = [23.6, 22.0, 20.0]
    found = over_seeds(gains)
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(gains), scipy.stats.sem(gains))
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(gains), low, high))
    assert found.p == pytest.approx(scipy.stats.ttest_1samp(gains, 0).pvalue)


@pytest.mark.slow
def test_several_comparisons_hold_together() -> None:
    """Of 400 experiments with five methods that gain nothing, at most about 5 % show any gain."""
    draws = np.random.default_rng(0).normal(size=(400, 5, 3))
    alone, together = (
        np.mean(
            [
                any(f.low > 0 or f.high < 0 for f in (over_seeds(list(row), comparisons=n) for row in each))
                for each in draws
            ]
        )
        for n in (1, 5)
    )
    assert alone > 0.15
    assert together <= 0.05 + 2 * 0.011


def test_seeds_without_spread_give_a_point() -> None:
    found = over_seeds([2.0, 2.0])
    assert (found.low, found.high, found.p) == (2.0, 2.0, 0.0)
    assert over_seeds([0.0, 0.0]).p == 1.0


def test_one_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        over_seeds([3.0])


def test_a_gain_of_the_smallest_detectable_size_is_found_in_four_of_five_experiments() -> None:
    count, deviation = 100, 0.5
    gain = detectable(deviation, count)
    draws = np.random.default_rng(0).normal(gain, deviation, size=(200, count))
    found = [scipy.stats.ttest_1samp(row, 0).pvalue < 0.05 for row in draws]
    assert np.mean(found) == pytest.approx(0.8, abs=3 * 0.028)
    assert paired_gain(list(draws[0]), [0.0] * count).count == count
