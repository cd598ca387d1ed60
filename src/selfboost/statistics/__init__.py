"""Intervals, paired tests and text statistics. numpy and scipy are loaded inside the functions that need them.

Prompts are the unit everywhere: the samples of one prompt are averaged before anything is resampled. Missing values
are never guessed: a prompt without one is left out of the mean and counted. Left out, since the
prompts of one run cannot show it: the spread over training seeds.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations, product
from operator import add
from typing import Any, cast

RESAMPLES = 9999
"""Bootstrap samples, and random sign patterns."""
EXACT = 13
"""Up to this many values, every sign pattern is tried."""
BLOCK = 500
"""Resamples computed at a time, which bounds memory."""
LEVEL = 0.95
"""Coverage of an interval."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its interval."""

    value: float
    low: float
    high: float
    count: int
    """Prompts that it is computed from."""
    missing: int = 0
    """Prompts left out because a value was missing."""
    p: float | None = None
    """Two-sided p-value against 0, where there is a test."""


def summed(values: Iterable[float]) -> float:
    """Sum from left to right, the same bits on every Python: from 3.12 on, `sum` compensates its rounding."""
    return reduce(add, values, 0.0)


def mean_interval(values: Sequence[float | None], *, seed: int = 0, level: float = LEVEL) -> Interval:
    """Mean over prompts with its BCa bootstrap interval (Efron 1987), as scipy computes it.

    Raises:
        ValueError: there are no values.
    """
    known = [value for value in values if value is not None]
    if not known:
        raise ValueError("there is no value to average: every one is missing")
    low, high = _bca(known, seed, level)
    return Interval(
        value=summed(known) / len(known), low=low, high=high, count=len(known), missing=len(values) - len(known)
    )


def share_interval(hits: int, count: int, *, level: float = LEVEL) -> Interval:
    """Share of items that are hits, with Wilson's score interval (Wilson 1927), which has a width at 0 and 1 too.

    Raises:
        ValueError: there are no items.
    """
    import scipy.stats

    if not count:
        raise ValueError("there is no value to average: every one is missing")
    found = cast(Any, scipy.stats).binomtest(hits, count).proportion_ci(confidence_level=level, method="wilson")
    return Interval(value=hits / count, low=float(found.low), high=float(found.high), count=count)


def ratio_interval(
    totals: Sequence[float], counts: Sequence[float], *, seed: int = 0, level: float = LEVEL
) -> Interval:
    """Sum of totals over sum of counts, one of each per prompt, with its interval: for example nats per token.

    The interval is that of the ratio's linearisation, whose mean is the ratio itself (Cochran 1977, section 6.3).

    Raises:
        ValueError: there are no values.
    """
    size = summed(counts)
    assert size > 0 or not totals, "a ratio needs something to divide by"
    ratio = summed(totals) / size if totals else 0.0
    around = [ratio + (total - ratio * count) * len(counts) / size for total, count in zip(totals, counts, strict=True)]
    return replace(mean_interval(around, seed=seed, level=level), value=ratio)


def paired_gain(
    new: Sequence[float | None], old: Sequence[float | None], *, seed: int = 0, level: float = LEVEL
) -> Interval:
    """Mean of the paired differences new - old, its BCa interval, and a sign-flip permutation p-value."""
    differences = [a - b if a is not None and b is not None else None for a, b in zip(new, old, strict=True)]
    mean = mean_interval(differences, seed=seed, level=level)
    known = [d for d in differences if d is not None]
    return Interval(
        value=mean.value,
        low=mean.low,
        high=mean.high,
        count=mean.count,
        missing=mean.missing,
        p=sign_flip_p(known, seed=seed),
    )


def win_rate(
    new: Sequence[Sequence[float | None]], old: Sequence[Sequence[float | None]], *, seed: int = 0, level: float = LEVEL
) -> Interval:
    """How often a sample of the new model scores above one of the old on the same prompt, ties counting half.

    Every sample of one is compared with every sample of the other (the Mann-Whitney statistic within a prompt); the
    interval is over prompts.
    """
    rates = [_mean(_games(a, b)) for a, b in zip(new, old, strict=True)]
    return mean_interval(rates, seed=seed, level=level)


def _games(new: Sequence[float | None], old: Sequence[float | None]) -> list[float | None]:
    """Every comparison of two samples: 1 won, 0.5 tied, 0 lost, None where a score is missing."""
    return [None if a is None or b is None else 0.5 * ((a > b) + (a >= b)) for a in new for b in old]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return summed(known) / len(known) if known else None


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's τ between two scorings of the same items: pairs that both order alike less the others, over all pairs.

    Of equal scores the earlier item ranks lower, in either scoring, so that no pair is without an order.
    """
    assert len(first) == len(second) > 1, "an order needs two items, scored twice"
    pairs = list(combinations(range(len(first)), 2))
    alike = sum((first[i] > first[j]) == (second[i] > second[j]) for i, j in pairs)
    return 2 * alike / len(pairs) - 1


def sign_flip_p(differences: Sequence[float], *, seed: int = 0) -> float:
    """Two-sided p-value for a mean of 0, under random sign flips of the differences.

    Exact for few values (all sign patterns), else from random ones plus the observed one (Phipson & Smyth 2010).
    """
    import numpy as np

    assert differences, "nothing to test"
    values = np.asarray(differences, dtype=float)
    least = abs(values.mean()) - 1e-12 * np.abs(values).mean()  # patterns equal but for rounding count as equal
    if len(values) <= EXACT:
        signs = np.asarray(list(product((-1.0, 1.0), repeat=len(values))))
        return float((np.abs(signs @ values) / len(values) >= least).mean())
    extreme, generator = 1, np.random.default_rng(seed)
    for start in range(0, RESAMPLES, BLOCK):
        signs = 2.0 * generator.integers(2, size=(min(BLOCK, RESAMPLES - start), len(values)), dtype=np.int8) - 1
        extreme += int((np.abs(signs @ values) / len(values) >= least).sum())
    return extreme / (RESAMPLES + 1)


def _bca(values: Sequence[float], seed: int, level: float) -> tuple[float, float]:
    """A constant sample (or a single value) has no spread to resample: its interval is a point."""
    import warnings

    import numpy as np

    if min(values) == max(values):
        return values[0], values[0]
    import scipy.stats

    data = np.asarray(values, dtype=float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a degenerate sample: the result shows it
        result = cast(Any, scipy.stats).bootstrap(
            (data,),
            np.mean,
            n_resamples=RESAMPLES,
            confidence_level=level,
            method="BCa",
            batch=BLOCK,
            rng=np.random.default_rng(seed),
        )
    low, high = result.confidence_interval
    if not (math.isfinite(low) and math.isfinite(high)):  # values equal but for rounding: plain percentiles
        low, high = np.quantile(result.bootstrap_distribution, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def mcnemar_p(gained: int, lost: int) -> float:
    """Exact two-sided McNemar test (McNemar 1947): can chance explain `gained` prompts turning right, `lost` wrong?"""
    import scipy.stats

    return float(cast(Any, scipy.stats).binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for multiple testing (Holm 1979), in the given order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def words_of(text: str) -> list[str]:
    """The words of a text, lower-cased: spacing, case and punctuation make no difference."""
    return re.findall(r"\w+", text.lower())


def repeated_share(items: Sequence[Hashable], n: int = 4) -> float:
    """Share of n-grams (of words, or of token ids) that occurred before in the same sequence; 0 if it is shorter."""
    grams = _grams(items, n)
    return 1 - len(grams) / total if (total := grams.total()) else 0.0


def distinct(texts: Sequence[Sequence[Hashable]], n: int, length: int = 0) -> float:
    """Distinct n-grams over all n-grams (Li et al. 2016, arXiv 1510.03055).

    Longer texts repeat more: only texts cut to one `length` are comparable (0 means no cut).
    """
    grams = Counter[tuple[Hashable, ...]]()
    for text in texts:
        grams.update(_grams(text[:length] if length else text, n))
    return len(grams) / grams.total() if grams else 0.0


def quantiles(values: Sequence[float], shares: Sequence[float] = (0.1, 0.5, 0.9)) -> list[float]:
    """Values below which these shares lie, by linear interpolation: the summary of lengths."""
    assert values, "nothing to summarise"
    ordered = sorted(values)
    found: list[float] = []
    for share in shares:
        at = share * (len(ordered) - 1)
        below = math.floor(at)
        above = min(below + 1, len(ordered) - 1)
        found.append(ordered[below] + (at - below) * (ordered[above] - ordered[below]))
    return found


def _grams(items: Sequence[Hashable], n: int) -> Counter[tuple[Hashable, ...]]:
    return Counter(tuple(items[i : i + n]) for i in range(len(items) - n + 1))
