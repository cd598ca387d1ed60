"""The tables of `benchmarks.noise_regimes`, in Markdown, of its rows alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import cast

from benchmarks.noise_regimes import ARMS, LABELS, RATES, Row
from benchmarks.noise_world import STARTS

from selfboost.statistics import Interval, holm, summed
from selfboost.statistics.claims import over_seeds

ALPHA = 0.05
Setting = tuple[str, str]
"""(start model, labels)"""
Found = Mapping[tuple[str, str, str, float], Mapping[int, Row]]
"""(start model, labels, arm, rate) → run seed → row"""


def tables(rows: Sequence[Row]) -> str:
    """Every table, of the rows that are there."""
    found: dict[tuple[str, str, str, float], dict[int, Row]] = {}
    for row in sorted(rows, key=lambda row: row.seed):
        found.setdefault((row.start, row.labels, row.arm, row.rate), {})[row.seed] = row
    whole = [at for at in product(STARTS, LABELS) if all((*at, arm, rate) in found for arm in ARMS for rate in RATES)]
    parts = [f"### {start} start, labels {labels}\n\n{_by_rate(found, (start, labels))}" for start, labels in whole]
    if whole:
        parts.append(f"### Each arm at the rate that is best on the validation prompts\n\n{_verdicts(found, whole)}")
    return "\n\n".join(parts)


def _mean(each: Sequence[float]) -> float:
    return summed(each) / len(each)


def _by_rate(found: Found, at: Setting) -> str:
    """Share right by iteration, and how far the policy is from the initial model, for each arm and rate."""
    told = ["| | rate | it. 1 | it. 2 | it. 3 | it. 4 | it. 4 less none's | KL, nats a token |", "|---" * 8 + "|"]
    for arm, rate in product(ARMS, RATES):
        seeds = found[*at, arm, rate]
        by_iteration = [_mean([row.held_out[t] for row in seeds.values()]) for t in range(1, 5)]
        shares = [f"{100 * share:.1f}" for share in by_iteration]
        gain = "" if arm == "none" else _points(_gain(seeds, found[*at, "none", rate]))
        kl = _mean([row.kl[-1] for row in seeds.values()])
        told.append(f"| {arm} | {rate:g} | {' | '.join(shares)} | {gain} | {kl:.2f} |")
    return "\n".join(told)


def _gain(one: Mapping[int, Row], other: Mapping[int, Row], iteration: int = 4) -> Interval | None:
    """The difference after an iteration, over the run seeds that both have; None where they have fewer than two."""
    each = [row.held_out[iteration] - other[seed].held_out[iteration] for seed, row in one.items() if seed in other]
    return over_seeds(each) if len(each) > 1 else None


def _points(found: Interval | None, bold: bool = False) -> str:
    if found is None:
        return "one seed"
    told = f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"**{told}**" if bold else told


def best_rate(found: Found, at: Setting, arm: str) -> float:
    """The rate with the best mean of the last iteration on the validation prompts."""
    return max(RATES, key=lambda rate: _mean([row.validation[-1] for row in found[*at, arm, rate].values()]))


def _verdicts(found: Found, settings: Sequence[Setting]) -> str:
    """Differences to what noise has to beat; bold: significant after Holm's correction over the whole table."""
    told = [
        "| start, labels | | rate | it. 3 | it. 4 | it. 3 less none's | it. 4 less none's | it. 4 less the offset's |",
        "|---" * 8 + "|",
    ]
    best = {(*at, arm): found[*at, arm, best_rate(found, at, arm)] for at in settings for arm in ARMS}
    rows: list[tuple[str, list[tuple[Interval | None, bool]]]] = []
    for (start, labels), arm in product(settings, ARMS):
        one = best[start, labels, arm]
        pairs = [("none", 3), ("none", 4), ("offset of 16", 4)]
        gains = [(_gain(one, best[start, labels, other], t), arm != other) for other, t in pairs]
        shares = " | ".join(f"{100 * _mean([row.held_out[t] for row in one.values()]):.1f}" for t in (3, 4))
        rate = best_rate(found, (start, labels), arm)
        rows.append((f"| {start}, {labels} | {arm} | {rate:g} | {shares} |", gains))
    compared = [gain for _, gains in rows for gain, shown in gains if shown and gain]
    adjusted = iter(holm([cast(float, gain.p) for gain in compared]))
    significant = {id(gain) for gain, p in zip(compared, adjusted, strict=True) if p < ALPHA}
    for heading, gains in rows:
        cells = [_points(gain, id(gain) in significant) if shown else "" for gain, shown in gains]
        told.append(f"{heading} {' | '.join(cells)} |")
    return "\n".join(told)
