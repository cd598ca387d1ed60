"""From comparisons in both orders to the value of each answer, and what the two orders say of the judge itself.

p(A, B) is the probability that A is better, when A is shown first. Of two answers, A has p(A, B) and B has p(B, A): the
probability that A is better, over both orders, is half of 1 + p(A, B) - p(B, A).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

from selfboost.notes import Note
from selfboost.records import Answer, Verdict
from selfboost.scorers.replies import Reading

ALONE = "there is no other answer to its prompt to compare it with"
CLEAR = (0.0, 0.5, 1.0)
"""What p is where a label was read from text."""


@dataclass(frozen=True, kw_only=True)
class OrdersCompared(Note):
    """What a judge's verdicts on two answers in both orders say of the judge."""

    compared: int
    """Pairs of answers that were compared in both orders."""
    orders_disagree: float | None = None
    """Share of them in which the answer shown first wins both times, or loses both times: the judge's noise."""
    first_shown_wins: float | None = None
    """Mean probability that the answer shown first is better; 0.5 without a position bias."""
    answers_without_verdict: int = 0

    @property
    def sentence(self) -> str:
        """The note in words."""
        missing = f"; {self.answers_without_verdict:,} answers have no verdict" if self.answers_without_verdict else ""
        if self.orders_disagree is None or self.first_shown_wins is None:
            return f"compared no pair of answers in both orders{missing}"
        return (
            f"compared {self.compared:,} pairs of answers; the two orders disagree on {self.orders_disagree:.1%}, the "
            f"answer shown first wins {self.first_shown_wins:.1%} (50% without a position bias){missing}"
        )


def rivals_of(answers: Sequence[Answer], faults: Sequence[str]) -> list[list[int]]:
    """For each answer without a fault, where its rivals are: the other such answers beside it to the same prompt."""
    rivals: list[list[int]] = [[] for _ in answers]
    for _, places in groupby(range(len(answers)), key=lambda place: answers[place].prompt.id):
        sound = [place for place in places if not faults[place]]
        for at in sound:
            rivals[at] = [other for other in sound if other != at]
    return rivals


def values_of_pairs(
    faults: Sequence[str], rivals: Sequence[Sequence[int]], readings: Mapping[tuple[int, int], Reading]
) -> list[Reading]:
    """The value of each answer: the mean of p over its rivals, or the reason why there is none.

    A comparison counts only in both orders. `readings`: (first shown, second shown) → p, or why there is none.
    """
    return [why or _value(at, others, readings) for at, (why, others) in enumerate(zip(faults, rivals, strict=True))]


def _value(at: int, others: Sequence[int], readings: Mapping[tuple[int, int], Reading]) -> Reading:
    if not others:
        return ALONE
    values: list[float] = []
    reasons: list[str] = []
    for other in others:
        ours, theirs = readings[at, other], readings[other, at]
        if isinstance(ours, str) or isinstance(theirs, str):
            reasons += [reading for reading in (ours, theirs) if isinstance(reading, str)]
        else:
            values.append(_settled(ours, theirs))
    return fmean(values) if values else reasons[0]


def _settled(ours: float, theirs: float) -> float:
    """p where the two orders agree; where two labels read from text do not, the mean, which makes it a tie."""
    if ours in CLEAR and theirs in CLEAR and ours != 1 - theirs:
        return (ours + theirs) / 2
    return ours


def compared(answers: Sequence[Answer], verdicts: Sequence[Verdict]) -> OrdersCompared:
    """What the values of answers say of the judge; disagreement is counted among the prompts with two answers."""
    pairs: list[tuple[float, float]] = []
    for _, group in groupby(zip(answers, verdicts, strict=True), key=lambda each: each[0].prompt.id):
        found = [verdict.value for _, verdict in group if verdict.value is not None]
        if len(found) == 2:
            pairs.append((found[0], found[1]))
    values = [verdict.value for verdict in verdicts if verdict.value is not None]
    return OrdersCompared(
        compared=len(pairs),
        orders_disagree=fmean((a - 0.5) * (b - 0.5) > 0 for a, b in pairs) if pairs else None,
        first_shown_wins=fmean(values) if values else None,
        answers_without_verdict=len(verdicts) - len(values),
    )
