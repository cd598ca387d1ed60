"""Statistics against enumeration, against scipy, and against what must hold whatever the numbers are."""

import math
import random
from itertools import product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from selfboost.statistics import (
    Interval,
    distinct,
    holm,
    mcnemar_p,
    mean_interval,
    paired_gain,
    quantiles,
    repeated_share,
    share_interval,
    sign_flip_p,
    summed,
    win_rate,
)

numbers = st.floats(-100, 100)


def drawn(count: int, seed: int = 0) -> list[float]:
    mixed = random.Random(seed)
    return [mixed.gauss(0.2, 1) for _ in range(count)]


def test_sums_are_the_same_on_every_python() -> None:
    """0.1 added ten times rounds eight times; Python's own sum gives 1.0 from 3.12 on."""
    assert summed([0.1] * 10) == 0.9999999999999999
    assert summed([]) == 0.0


def test_an_interval_is_scipys_bca() -> None:
    values = [x**2 for x in drawn(80)]  # skewed, so that BCa is not the plain percentiles
    ours = mean_interval(values, seed=3)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(3))
    plain = np.quantile(theirs.bootstrap_distribution, (0.025, 0.975))
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, abs=1e-12)
    assert (ours.low, ours.high) != pytest.approx(plain, abs=1e-3)
    assert ours.value == pytest.approx(np.mean(values))


def test_an_interval_of_many_values_is_students() -> None:
    values = drawn(2000)
    ours = mean_interval(values)
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """300 experiments of 60 prompts with 4 samples each; the binomial error of the coverage is 0.013."""
    generator = np.random.default_rng(0)
    rates = generator.binomial(4, generator.beta(1, 2, size=(300, 60))) / 4
    found = [mean_interval(list(map(float, row)), seed=i) for i, row in enumerate(rates)]
    assert np.mean([each.low <= 1 / 3 <= each.high for each in found]) == pytest.approx(0.95, abs=0.035)


@settings(deadline=None, max_examples=30)
@given(numbers, st.integers(1, 20))
def test_values_without_spread_have_a_point_as_interval(value: float, count: int) -> None:
    found = mean_interval([value] * count)
    assert (found.low, found.high) == (value, value)
    assert found.value == pytest.approx(value)


def test_values_equal_but_for_rounding_have_a_finite_interval() -> None:
    found = mean_interval([0.1 * 3] * 10 + [0.3])
    assert found.low == pytest.approx(0.3)
    assert found.high == pytest.approx(0.3)


@settings(deadline=None, max_examples=30)
@given(st.lists(numbers, min_size=1, max_size=30))
def test_an_interval_is_ordered_within_the_data_and_reproducible(values: list[float]) -> None:
    found = mean_interval(values, seed=1)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert found == mean_interval(values, seed=1)


def test_missing_values_are_left_out_and_counted() -> None:
    assert mean_interval([1.0, None, 0.0, None]) == Interval(value=0.5, low=0.0, high=1.0, count=2, missing=2)
    gain = paired_gain([1.0, None, 0.5, 1.0], [0.0, 1.0, None, 0.0])
    assert (gain.value, gain.count, gain.missing) == (1.0, 2, 2)
    with pytest.raises(ValueError, match="every one is missing"):
        mean_interval([None, None])
    with pytest.raises(ValueError, match="every one is missing"):
        paired_gain([1.0, None], [None, 1.0])


def test_a_model_gains_nothing_on_itself() -> None:
    values = drawn(50)
    gain = paired_gain(values, values)
    assert (gain.value, gain.low, gain.high, gain.p) == (0.0, 0.0, 0.0, 1.0)


def test_two_equally_good_models_differ_by_an_interval_around_zero() -> None:
    gain = paired_gain(drawn(300, 1), drawn(300, 2))
    assert gain.low < 0 < gain.high
    assert gain.p is not None
    assert gain.p > 0.05


@settings(deadline=None, max_examples=10)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20))
def test_a_gain_is_the_mean_difference(pairs: list[tuple[float, float]]) -> None:
    new, old = [a for a, _ in pairs], [b for _, b in pairs]
    gain = paired_gain(new, old)
    assert gain.value == pytest.approx(sum(new) / len(new) - sum(old) / len(old), abs=1e-9)
    assert gain.p == sign_flip_p([a - b for a, b in pairs])


def test_an_interval_moves_with_its_values() -> None:
    values = drawn(100)
    found, moved = mean_interval(values), mean_interval([x + 3 for x in values])
    assert (moved.value, moved.low, moved.high) == pytest.approx((found.value + 3, found.low + 3, found.high + 3))


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=9))
def test_the_sign_flip_p_value_is_that_of_all_sign_patterns(differences: list[int]) -> None:
    sums = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    expected = sum(abs(each) >= abs(sum(differences)) for each in sums) / len(sums)
    assert sign_flip_p([float(d) for d in differences]) == expected
    assert sign_flip_p([d / 10 for d in differences]) == expected  # ties survive rounding


@pytest.mark.parametrize("count", [12, 40])
def test_the_sign_flip_p_value_is_scipys(count: int) -> None:
    values = drawn(count, 4)
    zeros = [0.0] * count

    def mean_difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(a - b, axis=axis)

    theirs = scipy.stats.permutation_test((values, zeros), mean_difference, permutation_type="samples", rng=0).pvalue
    assert sign_flip_p(values) == pytest.approx(theirs, abs=1e-12 if count == 12 else 0.02)


def test_the_sign_flip_test_is_wrong_as_often_as_it_says() -> None:
    p_values = [sign_flip_p(list(row)) for row in np.random.default_rng(0).normal(size=(400, 10))]
    assert np.mean([p <= 0.05 for p in p_values]) == pytest.approx(0.05, abs=0.03)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=8), st.integers())
def test_a_constant_judge_finds_exactly_one_half(samples: list[list[int]], score: int) -> None:
    same = [[float(score)] * len(each) for each in samples]
    found = win_rate(same, same)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.lists(numbers, min_size=1, max_size=4), st.lists(numbers, min_size=1)), min_size=1, max_size=6
    )
)
def test_a_win_rate_is_the_mean_mann_whitney_statistic(prompts: list[tuple[list[float], list[float]]]) -> None:
    new, old = [a for a, _ in prompts], [b for _, b in prompts]
    each = [scipy.stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)) for a, b in prompts]
    assert win_rate(new, old).value == pytest.approx(np.mean(each))
    assert win_rate(old, new).value == pytest.approx(1 - np.mean(each))


def test_a_prompt_whose_games_all_lack_a_score_is_missing() -> None:
    found = win_rate([[1.0, None], [None]], [[0.0, None], [1.0]])
    assert (found.value, found.count, found.missing) == (1.0, 1, 1)


def test_a_share_has_wilsons_interval_and_a_width_where_all_items_agree() -> None:
    for hits, count in [(0, 20), (3, 20), (20, 20), (511, 1172)]:
        found, z, share = share_interval(hits, count), scipy.stats.norm.ppf(0.975), hits / count
        middle = (share + z * z / (2 * count)) / (1 + z * z / count)
        half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
        assert (found.value, found.count) == (share, count)
        assert (found.low, found.high) == pytest.approx((max(0, middle - half), min(1, middle + half)), abs=1e-12)
        assert found.low < found.high
    with pytest.raises(ValueError, match="no value to average"):
        share_interval(0, 0)


def test_mcnemar_is_the_exact_binomial_test() -> None:
    assert mcnemar_p(0, 0) == 1.0
    for gained, lost in [(1, 0), (8, 2), (3, 3), (15, 4)]:
        n, least = gained + lost, min(gained, lost)
        tail = sum(math.comb(n, k) for k in range(least + 1)) / 2**n
        assert mcnemar_p(gained, lost) == mcnemar_p(lost, gained) == pytest.approx(min(1.0, 2 * tail))


def test_holm_on_its_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_lies_between_the_p_value_and_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= min(1.0, len(p_values) * p) + 1e-12 for p, a in zip(p_values, adjusted, strict=True))
    assert adjusted[p_values.index(min(p_values))] == pytest.approx(min(1.0, len(p_values) * min(p_values)))
    assert [a for _, a in sorted(zip(p_values, adjusted, strict=True))] == sorted(adjusted)


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 5))
def test_the_repeated_share_counts_grams_seen_before(items: list[int], n: int) -> None:
    seen: list[list[int]] = []
    again = 0
    for i in range(len(items) - n + 1):
        again += items[i : i + n] in seen
        seen.append(items[i : i + n])
    assert repeated_share(items, n) == pytest.approx(again / len(seen) if seen else 0.0)


def test_a_loop_is_repetitive_and_fresh_text_is_not() -> None:
    assert repeated_share(["the", "cat", "sat", "on"] * 30) > 0.96
    assert repeated_share([str(i) for i in range(100)]) == 0.0
    assert repeated_share(["too", "short"]) == 0.0


def test_distinct_counts_different_grams_of_all_texts_cut_alike() -> None:
    assert distinct([["a", "b", "a", "b"], ["a", "b"]], 1) == pytest.approx(2 / 6)
    assert distinct([["a", "b", "a", "b"], ["a", "b"]], 2) == pytest.approx(2 / 4)
    assert distinct([["a", "b", "a", "b"], ["c", "d"]], 1, length=2) == 1.0
    assert distinct([], 1) == 0.0


@given(st.lists(numbers, min_size=1, max_size=30))
def test_quantiles_are_numpys(values: list[float]) -> None:
    assert quantiles(values) == pytest.approx(np.quantile(values, [0.1, 0.5, 0.9]), abs=1e-9)
