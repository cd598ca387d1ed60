"""Claims about methods: what several run seeds show, and the smallest gain that a number of prompts can show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, cast

from selfboost.statistics import LEVEL, Interval, summed

POWER = 0.8
"""Chance of detecting a gain of the smallest detectable size."""


def over_seeds(gains: Sequence[float], *, comparisons: int = 1, level: float = LEVEL) -> Interval:
    """Mean of one gain per run seed, with Student's interval over the seeds (Student 1908).

    Seeds are the unit: a run's prompts say nothing of how another seed would have ended. Where several comparisons
    are made at once, the interval is widened so that all of them hold together (Bonferroni); the p-value is not
    adjusted, since `holm` does that better.

    Raises:
        ValueError: fewer than two seeds.
    """
    import scipy.stats

    if len(gains) < 2:
        raise ValueError("one run seed shows no spread: an interval over seeds needs at least two")
    mean = summed(gains) / len(gains)
    spread = math.sqrt(summed((gain - mean) ** 2 for gain in gains) / (len(gains) - 1) / len(gains))
    if not spread:
        return Interval(value=mean, low=mean, high=mean, count=len(gains), p=float(mean == 0))
    student = cast(Any, scipy.stats).t(len(gains) - 1)
    half = float(student.ppf(1 - (1 - level) / comparisons / 2)) * spread
    p = float(2 * student.sf(abs(mean) / spread))
    return Interval(value=mean, low=mean - half, high=mean + half, count=len(gains), p=p)


def detectable(deviation: float, count: int, *, level: float = LEVEL, power: float = POWER) -> float:
    """Smallest true gain that a paired test on `count` prompts detects with probability `power`.

    `deviation` is the standard deviation over prompts of the paired difference (Cohen 1988, section 2.4, the normal
    approximation).
    """
    quantile = NormalDist().inv_cdf  # scipy takes seconds to import, and every plan asks
    return (quantile((1 + level) / 2) + quantile(power)) * deviation / math.sqrt(count)
