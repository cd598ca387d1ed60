"""Intervals, paired tests and text statistics. numpy and scipy are loaded inside the functions that need them.

Prompts are the unit everywhere: the samples of one prompt are averaged before anything is resampled. Missing values
are never guessed: a prompt without one is left out of the mean and counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, cast

RESAMPLES = 4999
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its interval."""

    value: float
    low: float
    high: float
    count: int
    """Prompts it rests on."""
    missing: int = 0
    """Prompts left out because a value was missing."""
    p: float | None = None
    """Two-sided p-value against 0, where there is a test."""


def mean_interval(values: Sequence[float | None], *, seed: int = 0, level: float = LEVEL) -> Interval:
    """Mean over prompts with its BCa bootstrap interval (Efron 1987), as scipy computes it.

    Raises:
        ValueError: there is no value at all.
    """
    known = [value for value in values if value is not None]
    if not known:
        raise ValueError("there is no value to average: every one is missing")
    low, high = _bca(known, seed, level)
    return Interval(
        value=sum(known) / len(known), low=low, high=high, count=len(known), missing=len(values) - len(known)
    )


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
    new: Sequence[Sequence[float | None]], old: Sequence[Sequence[float | None]], *, seed: int = 0
) -> Interval:
    """How often a sample of the new model scores above one of the old on the same prompt, ties counting half.

    Every sample of one is compared with every sample of the other; the interval is over prompts.
    """
    return mean_interval([_prompt_win_rate(a, b) for a, b in zip(new, old, strict=True)], seed=seed)


def _prompt_win_rate(new: Sequence[float | None], old: Sequence[float | None]) -> float | None:
    games = [0.5 * ((a > b) + (a >= b)) for a in new for b in old if a is not None and b is not None]
    return sum(games) / len(games) if games else None


def sign_flip_p(differences: Sequence[float], *, seed: int = 0, draws: int = 9999) -> float:
    """Two-sided p-value of the mean being 0 if every difference could as well have the other sign.

    Exact for up to 13 values (all sign patterns), else by `draws` random ones, the observed one counted.
    """
    import numpy as np

    values = np.asarray(differences, dtype=float)
    observed = abs(values.mean())
    if len(values) <= 13:
        patterns = np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1
        signs = 1 - 2 * patterns
    else:
        signs = np.random.default_rng(seed).choice((-1, 1), size=(draws, len(values)))
    means = np.abs(signs @ values) / len(values)
    extreme = int((means >= observed - 1e-12).sum())
    return extreme / len(signs) if len(values) <= 13 else (extreme + 1) / (draws + 1)


def _bca(values: Sequence[float], seed: int, level: float) -> tuple[float, float]:
    """A constant sample (or a single value) has no spread to resample: its interval is a point."""
    import numpy as np

    if len(set(values)) == 1:
        return values[0], values[0]
    from scipy.stats import bootstrap

    data = np.asarray(values, dtype=float)
    result = cast(Any, bootstrap)(
        (data,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=level,
        method="BCa",
        batch=500,
        rng=np.random.default_rng(seed),
    )
    low, high = float(result.confidence_interval.low), float(result.confidence_interval.high)
    # BCa is undefined where almost all values are equal; the percentiles' range is what is left.
    mean = float(data.mean())
    return (low if math.isfinite(low) else mean), (high if math.isfinite(high) else mean)


def mcnemar_p(gained: int, lost: int) -> float:
    """Exact two-sided McNemar test (McNemar 1947): is it chance that `gained` prompts turned right and `lost` wrong?"""
    from scipy.stats import binomtest

    return float(cast(Any, binomtest)(gained, gained + lost).pvalue) if gained + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def repeated_share(items: Sequence[Hashable], n: int = 4) -> float:
    """Share of n-grams that occurred before in the same sequence; 0 where it is shorter than n."""
    grams = _grams(items, n)
    return 1 - len(grams) / total if (total := grams.total()) else 0.0


def distinct(texts: Sequence[Sequence[Hashable]], n: int, length: int = 0) -> float:
    """Distinct n-grams over all n-grams (Li et al. 2016); sequences are cut to `length` first, since longer ones repeat
    more. 0 means no cut."""
    grams = Counter[tuple[Hashable, ...]]()
    for text in texts:
        grams += _grams(text[:length] if length else text, n)
    return len(grams) / grams.total() if grams else 0.0


def quantiles(values: Sequence[float], shares: Sequence[float] = (0.1, 0.5, 0.9)) -> list[float]:
    """Values below which these shares lie, by linear interpolation."""
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
