"""Two models' ratings of the same items compared: paired differences, a test that fits the values, Holm's correction.

Each measure is a claim of its own. Where several are tested at once, `p_holm` holds for all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from selfboost.measures import Declared, Measure
from selfboost.records import Rated
from selfboost.statistics import Interval, holm, mcnemar_p, paired_gain, summed

MCNEMAR, SIGN_FLIP = "McNemar", "sign flip"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One measure of two models."""

    measure: Measure
    difference: Interval
    """Mean of the second model's value minus the first's; `p` is the test's."""
    over: str = "prompts"
    """What the interval is over: prompts or items of one measurement, or run seeds."""
    test: str = SIGN_FLIP
    """Exact McNemar where every value is 0 or 1, else random sign flips, or Student's t over run seeds."""
    p_holm: float | None = None
    """p adjusted for all measures that were tested together; None for one that is not among them."""


def compare_ratings(
    declared: Declared, old: Sequence[Rated], new: Sequence[Rated], over: str = "prompts"
) -> dict[str, Compared]:
    """Measure → paired difference, new minus old, of everything that both rated; items in the same order.

    Raises:
        ValueError: a measure has no item with a value under both models.
    """
    found: dict[str, Compared] = {}
    for name, measure in declared.items():
        pairs = [(a.values[name], b.values[name]) for a, b in zip(old, new, strict=True) if _both(a, b, name)]
        if not pairs:
            continue
        before, after = ([_mean(values) for values in side] for side in zip(*pairs, strict=True))
        difference, test = paired_gain(after, before), SIGN_FLIP
        if all(_is_verdict(values) for pair in pairs for values in pair):
            changes = [(b[0] or 0) - (a[0] or 0) for a, b in pairs]
            difference, test = replace(difference, p=mcnemar_p(changes.count(1), changes.count(-1))), MCNEMAR
        found[name] = Compared(measure=measure, difference=difference, over=over, test=test)
    return adjusted(found)


def adjusted(found: Mapping[str, Compared]) -> dict[str, Compared]:
    """With p-values adjusted over the measures that have a better direction; a task's further metrics are left out."""
    tested = [name for name, each in found.items() if each.measure.sign and "/" not in name]
    p_values = [found[name].difference.p for name in tested]
    corrected = holm([1.0 if p is None else p for p in p_values])
    together = dict(zip(tested, corrected, strict=True))
    return {name: replace(each, p_holm=together.get(name)) for name, each in found.items()}


def _both(one: Rated, other: Rated, name: str) -> bool:
    return bool(one.values.get(name) and other.values.get(name))


def _is_verdict(values: Sequence[float | None]) -> bool:
    """Whether an item has a single value: right or wrong."""
    return len(values) == 1 and values[0] in (0, 1)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return summed(known) / len(known) if known else None
