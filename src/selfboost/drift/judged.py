"""Figures of scores: does the policy win without being longer, and does the scorer pay for length?

Scores are those that the benchmark's scorer gave to the held-out answers; nothing is scored here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import groupby

from selfboost.drift import Measured, request
from selfboost.measures import Estimated
from selfboost.records import Answer
from selfboost.statistics import mean_interval, summed

NEAR = 0.1
"""Two answers count as equally long if they differ by at most this share of the longer one."""
LEAST = 10
"""Fewest prompts that an interval or a correlation is computed from."""
JUDGED_FIGURES = ("win_rate", "equal_length_win_rate", "length_correlation")
"""Names of all figures of this module."""
Scored = Mapping[Hashable, Sequence[tuple[int, float]]]
"""Prompt → (tokens, score) of each of its answers; higher scores are better."""


def judged_figures(
    measured: Measured, first: Measured, sign: int, seed: int
) -> tuple[dict[str, Estimated], dict[str, str]]:
    """Figures by name, and reasons for those that are absent.

    `first`: the initial model's; `sign` turns scores into ones of which higher is better.
    """
    own, before = (scored(each.most(), each.scores, sign) for each in (measured, first))
    found: dict[str, Estimated] = {}
    absent: dict[str, str] = {}
    if not own or not before:
        return found, dict.fromkeys(JUDGED_FIGURES, "the benchmark scored no single answers")
    for name, near in (("win_rate", None), ("equal_length_win_rate", NEAR)):
        rates = win_rates(own, before, near)
        if len(rates) < LEAST:
            absent[name] = f"fewer than {LEAST} prompts have such pairs of answers"
        else:
            found[name] = Estimated.of(mean_interval(rates, seed=seed))
    correlation = length_correlation(own)
    if correlation is None:
        absent["length_correlation"] = "no prompt has answers that differ in length and in score"
    else:
        found["length_correlation"] = Estimated(value=correlation)
    return found, absent


def scored(answers: Sequence[Answer], scores: Mapping[str, float], sign: int) -> Scored:
    """The scored answers by prompt."""
    found: dict[Hashable, list[tuple[int, float]]] = {}
    for prompt, group in groupby(answers, key=request):
        values = [(len(answer.token_ids), scores.get(answer.id)) for answer in group]
        if known := [(length, sign * value) for length, value in values if value is not None]:
            found[prompt] = known
    return found


def win_rates(new: Scored, old: Scored, near: float | None = None) -> list[float]:
    """Of each prompt that has any, the share of pairs that the new model wins, ties counting half.

    With `near`, only of pairs whose lengths differ by at most this share of the longer one.
    """
    rates: list[float] = []
    for prompt in new:
        games = [
            0.5 * ((a > b) + (a >= b))
            for own, a in new[prompt]
            for other, b in old.get(prompt, ())
            if near is None or abs(own - other) <= near * max(own, other)
        ]
        rates += [summed(games) / len(games)] if games else []
    return rates


def length_correlation(own: Scored) -> float | None:
    """Pearson's correlation of length and score among answers to the same prompt; None if nothing varies.

    Each prompt's means are subtracted first: that hard prompts get long, poor answers says nothing of the scorer.
    """
    rows = [
        (length - summed(x for x, _ in pairs) / len(pairs), score - summed(y for _, y in pairs) / len(pairs))
        for pairs in own.values()
        for length, score in pairs
    ]
    lengths, scores = summed(x * x for x, _ in rows), summed(y * y for _, y in rows)
    return summed(x * y for x, y in rows) / (lengths * scores) ** 0.5 if lengths > 0 and scores > 0 else None
