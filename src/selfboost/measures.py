"""Measures: what a benchmark declares, and the results of its ratings, with intervals and gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from selfboost.records import Rated
from selfboost.statistics import Interval, mean_interval, paired_gain, summed, win_rate
from selfboost.suggestions import did_you_mean

SHARE, SCORE = "share", "score"
"""Units that are not printed by name: a share is shown in percent, a score has no unit."""
WIN_RATE = "win_rate"
"""The measure that the run itself adds to those of the benchmark."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A benchmark's declaration of one of its measures."""

    title: str
    """Its name in plain words, lower case: `score of sampled answers`."""
    unit: str = SCORE
    """`share` (0 to 1), `score` (a number without a unit), or the unit's name: `tokens`, `nats`, `points` …"""
    better: Literal["higher", "lower", "neither"] = "higher"
    """Which way is an improvement."""
    metric: str = ""
    """The metric's own name, where a measure is named after its task: `acc_norm`."""

    @property
    def share(self) -> bool:
        """Whether its values are shares, which are shown in percent."""
        return self.unit == SHARE

    @property
    def sign(self) -> int:
        """Sign that turns a change into an improvement: 1, -1 where lower is better, 0 where neither is."""
        return {"higher": 1, "lower": -1, "neither": 0}[self.better]


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """A value with its 95 % interval over prompts; None where there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, interval: Interval) -> Self:
        """The value and ends of an interval."""
        return cls(value=interval.value, low=interval.low, high=interval.high)


@dataclass(frozen=True, kw_only=True)
class MeasureRow(Estimated):
    """A measure of one model, and its gain over the initial model."""

    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None

    @property
    def gained(self) -> Estimated:
        """The gain with its interval."""
        return Estimated(value=self.gain, low=self.gain_low, high=self.gain_high)


Measures = Mapping[str, MeasureRow]
"""A model's measures by name."""
Declared = Mapping[str, Measure]
"""What a benchmark declares: name → measure, in the order in which it rates them."""


def with_win_rate(declared: Declared) -> Declared:
    """A benchmark's measures and the one that the run adds."""
    return {**declared, WIN_RATE: Measure(title="win rate against the previous policy", unit=SHARE)}


def measures_of(
    ratings: Sequence[Rated],
    first: Sequence[Rated],
    against: Sequence[Rated] | None,
    compared: tuple[str, Measure],
    seed: int,
) -> Measures:
    """Every measure with its gain over the first model, and the win rate against another model by one measure.

    Raises:
        ValueError: a measure has no value for any prompt.
    """
    measures: dict[str, MeasureRow] = {}
    for name in ratings[0].values:
        check_values(ratings, name)
        own, gain = mean_interval(_means(ratings, name), seed=seed), gain_of(ratings, first, name, seed)
        measures[name] = MeasureRow(
            value=own.value, low=own.low, high=own.high, gain=gain.value, gain_low=gain.low, gain_high=gain.high
        )
    if against is not None:
        name, measure = compared
        models = [_samples(ratings, name), _samples(against, name)]
        won, lost = models if measure.sign >= 0 else reversed(models)
        wins = win_rate(won, lost, seed=seed)
        measures[WIN_RATE] = MeasureRow.of(wins)
    return measures


def gain_of(new: Sequence[Rated], old: Sequence[Rated], measure: str, seed: int) -> Interval:
    """Mean paired difference over prompts.

    Raises:
        ValueError: no prompt has a value under both models.
    """
    return paired_gain(_means(new, measure), _means(old, measure), seed=seed)


def mean_of(ratings: Sequence[Rated], measure: str) -> float:
    """Mean over the prompts that have a value.

    Raises:
        ValueError: none has one.
    """
    check_values(ratings, measure)
    known = [mean for mean in _means(ratings, measure) if mean is not None]
    return summed(known) / len(known)


def check_values(ratings: Sequence[Rated], measure: str) -> None:
    """Raise ValueError if a measure has no value for any prompt."""
    if all(value is None for values in _samples(ratings, measure) for value in values):
        raise ValueError(f"{ratings[0].split}: the measure {measure!r} has no value for any prompt (see its stage)")


def check_decides(declared: Declared, measure: str, setting: str) -> None:
    """Raise ValueError if a setting names a measure that does not exist or that has no better direction."""
    allowed = [name for name, known in declared.items() if known.sign]
    if measure in allowed:
        return
    hint = did_you_mean(measure, allowed)
    why = "neither higher nor lower is better" if measure in declared else f"the benchmark has no such measure{hint}"
    raise ValueError(f"{setting} = {measure!r}: {why}; allowed: {', '.join(allowed) or 'none'}")


def _samples(ratings: Sequence[Rated], name: str) -> list[tuple[float | None, ...]]:
    return [rated.values[name] for rated in ratings]


def _means(ratings: Sequence[Rated], name: str) -> list[float | None]:
    means: list[float | None] = []
    for samples in _samples(ratings, name):
        known = [value for value in samples if value is not None]
        means.append(summed(known) / len(known) if known else None)
    return means
