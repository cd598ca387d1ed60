"""The tables of `benchmarks.noise_regimes`, in Markdown, of its rows alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from benchmarks.laboratory_rows import estimate, gains
from benchmarks.laboratory_tables import points, share, significant
from benchmarks.noise_regimes import ARMS, LABELS, RATES, Row
from benchmarks.noise_world import STARTS

AGAINST = (("none", 3), ("none", 4), ("offset of 16", 4))
"""(arm, iteration): what noise has to beat, nothing and a constant that does the same to every pair."""
RIVALS = {
    "noise at −1": "none",
    "fixed noise at −1": "none",
    "noise at −16": "offset of 16",
    "noise as in the paper": "none, half of the steps",
}
"""Noise → the same without it: what moves every pair's margin as far, or takes as many steps."""
Setting = tuple[str, str]
"""(start model, labels)"""
Found = Mapping[tuple[str, str, str, float], Mapping[int, Row]]
"""(start model, labels, arm, rate) → run seed → row"""


def tables(rows: Sequence[Row]) -> dict[str, str]:
    """Name → table, of the rows that are there."""
    found: dict[tuple[str, str, str, float], dict[int, Row]] = {}
    for row in sorted(rows, key=lambda row: row.seed):
        found.setdefault((row.start, row.labels, row.arm, row.rate), {})[row.seed] = row
    whole = [at for at in product(STARTS, LABELS) if all((*at, arm, rate) in found for arm in ARMS for rate in RATES)]
    named = {f"{start} start, labels {labels}": _by_rate(found, (start, labels)) for start, labels in whole}
    if whole:
        named["noise against its rival, at the same rate, after the last iteration"] = _duels(found, whole)
        named["each arm at the rate that is best on the validation prompts"] = _verdicts(found, whole)
    return named


def _by_rate(found: Found, at: Setting) -> str:
    """Share right by iteration, and how far the policy is from the initial model, for each arm and rate."""
    told = ["| | rate | it. 1 | it. 2 | it. 3 | it. 4 | it. 4 less none's | KL, nats a token |", "|---" * 8 + "|"]
    for arm, rate in product(ARMS, RATES):
        seeds = found[*at, arm, rate]
        shares = [share([row.held_out[t] for row in seeds.values()], False) for t in range(1, 5)]
        gain = points(_gains(seeds, found[*at, "none", rate], 4))
        kl = estimate([row.kl[-1] for row in seeds.values()]).value
        told.append(f"| {arm} | {rate:g} | {' | '.join(shares)} | {gain} | {kl:.2f} |")
    return "\n".join(told)


def _gains(one: Mapping[int, Row], other: Mapping[int, Row], iteration: int) -> list[float]:
    """The difference after an iteration for each run seed that both have; none to itself."""
    if one is other:
        return []
    return gains(*({seed: row.held_out[iteration] for seed, row in rows.items()} for rows in (one, other)))


def _duels(found: Found, settings: Sequence[Setting]) -> str:
    """Each kind of noise less its rival; bold: significant after Holm's correction over the whole table."""
    told = [
        f"| start, labels | rate | {' | '.join(f'{arm} less {other}' for arm, other in RIVALS.items())} |",
        "|---" * (len(RIVALS) + 2) + "|",
    ]
    each = {
        (*at, rate, arm): _gains(found[*at, arm, rate], found[*at, other, rate], 4)
        for at, rate, (arm, other) in product(settings, RATES, RIVALS.items())
    }
    bold = significant(each)
    for (start, labels), rate in product(settings, RATES):
        names = [(start, labels, rate, arm) for arm in RIVALS]
        shown = [points(each[name], bold=name in bold) for name in names]
        told.append(f"| {start}, {labels} | {rate:g} | {' | '.join(shown)} |")
    return "\n".join(told)


def best_rate(found: Found, at: Setting, arm: str) -> float:
    """The rate with the best mean of the last iteration on the validation prompts."""
    return max(RATES, key=lambda rate: estimate([row.validation[-1] for row in found[*at, arm, rate].values()]).value)


def _verdicts(found: Found, settings: Sequence[Setting]) -> str:
    """Differences to what noise has to beat; bold: significant after Holm's correction over the whole table."""
    told = [
        "| start, labels | | rate | it. 3 | it. 4 | it. 3 less none's | it. 4 less none's | it. 4 less the offset's |",
        "|---" * 8 + "|",
    ]
    rates = {(*at, arm): best_rate(found, at, arm) for at in settings for arm in ARMS}
    best = {(*at, arm): found[*at, arm, rate] for (*at, arm), rate in rates.items()}
    each = {
        (*at, arm, other, t): _gains(best[*at, arm], best[*at, other], t)
        for (*at, arm), (other, t) in product(best, AGAINST)
    }
    bold = significant(each)
    for start, labels, arm in best:
        names = [(start, labels, arm, other, t) for other, t in AGAINST]
        shown = [points(each[name], bold=name in bold) for name in names]
        shares = [share([row.held_out[t] for row in best[start, labels, arm].values()], False) for t in (3, 4)]
        told.append(f"| {start}, {labels} | {arm} | {rates[start, labels, arm]:g} | {' | '.join([*shares, *shown])} |")
    return "\n".join(told)
