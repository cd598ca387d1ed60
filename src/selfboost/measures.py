"""From ratings to the measures a summary shows: value, interval, and gain against the initial model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from selfboost.records import Rated
from selfboost.statistics import Interval, mean_interval, paired_gain, summed, win_rate

Measures = Mapping[str, Mapping[str, float | None]]
"""Measure → value, low, high, gain, gain_low, gain_high (95 % intervals over prompts)."""


def measures_of(
    ratings: Sequence[Rated], first: Sequence[Rated], against: Sequence[Rated] | None, compared: str, seed: int
) -> Measures:
    """Every measure of a rating, its gain over the first model, and the win rate of `compared` against another."""
    measures: dict[str, dict[str, float | None]] = {}
    for name in ratings[0].values:
        mean_of(ratings, name)
        own = mean_interval(_means(ratings, name), seed=seed)
        gain = gain_of(ratings, first, name, seed)
        measures[name] = _row(own) | {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
    if against is not None:
        new, old = _samples(ratings, compared), _samples(against, compared)
        measures["win_rate"] = _row(win_rate(new, old, seed=seed)) | dict.fromkeys(("gain", "gain_low", "gain_high"))
    return measures


def gain_of(new: Sequence[Rated], old: Sequence[Rated], measure: str, seed: int) -> Interval:
    """Mean paired difference over prompts.

    Raises:
        ValueError: the benchmark has no such measure.
    """
    check_measure(new[0].values, measure, "gate.measure")
    return paired_gain(_means(new, measure), _means(old, measure), seed=seed)


def mean_of(ratings: Sequence[Rated], measure: str) -> float:
    """Mean over the prompts that have a value.

    Raises:
        ValueError: it has no value at all.
    """
    known = [mean for mean in _means(ratings, measure) if mean is not None]
    if not known:
        raise ValueError(f"{ratings[0].split}: the measure {measure!r} has no value for any prompt (see its stage)")
    return summed(known) / len(known)


def check_measure(names: Collection[str], measure: str, setting: str) -> None:
    """Whether a benchmark that measures `names` has the measure that a setting asks for; ValueError where not."""
    if measure not in names:
        raise ValueError(f"{setting} = {measure!r}: the benchmark measures {', '.join(names)}")


def _samples(ratings: Sequence[Rated], name: str) -> list[tuple[float | None, ...]]:
    return [rated.values[name] for rated in ratings]


def _means(ratings: Sequence[Rated], name: str) -> list[float | None]:
    means: list[float | None] = []
    for samples in _samples(ratings, name):
        known = [value for value in samples if value is not None]
        means.append(summed(known) / len(known) if known else None)
    return means


def _row(interval: Interval) -> dict[str, float | None]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
