"""MT-Bench's arithmetic: ratings from 1 to 10 of two turns per question (arXiv 2306.05685, FastChat's llm_judge).

The score is the mean over all turns, as published. A rating that can't be read is never dropped in silence: it is
counted, and the bounds say what the score would be if all of them were 1, or 10. The two turns of a question are one
conversation, so the interval resamples questions whole; with 80 questions it is about ±0.3, and smaller differences
between models are noise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selfboost.statistics import Interval, ratio_interval

LOWEST, HIGHEST = 1, 10
PATTERNS = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))
"""Double brackets, as the judge is asked; else single ones."""
REFERENCE_CATEGORIES = ("math", "reasoning", "coding")
"""Categories whose judge is shown a reference answer."""
TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
"""Temperature at which a model answers, by category."""


@dataclass(frozen=True, kw_only=True)
class TurnRating:
    """The judge's rating of one turn; None if its reply held none."""

    question: str
    turn: int
    category: str
    value: float | None


@dataclass(frozen=True, kw_only=True)
class TurnScore:
    """Mean rating with its interval over questions."""

    score: Interval
    turns: int
    """Ratings that were read."""
    unread: int
    low: float
    """The score if every unread rating were the lowest."""
    high: float
    """The score if every unread rating were the highest."""


def parse(judgment: str) -> float | None:
    """The first rating that a judge wrote, as FastChat reads it; None if there is none from 1 to 10."""
    for pattern in PATTERNS:
        if found := pattern.search(judgment):
            value = float(found[1])
            return value if LOWEST <= value <= HIGHEST else None
    return None


def score_of(ratings: Iterable[TurnRating], *, seed: int = 0) -> TurnScore:
    """The score of a model, from the ratings of all its turns.

    Raises:
        ValueError: there is no rating, or a turn is rated twice.
    """
    by_question: dict[str, list[float | None]] = {}
    seen: set[tuple[str, int]] = set()
    for rating in ratings:
        if (rating.question, rating.turn) in seen:
            raise ValueError(f"question {rating.question}, turn {rating.turn}: rated twice")
        seen.add((rating.question, rating.turn))
        by_question.setdefault(rating.question, []).append(rating.value)
    known = {q: [v for v in values if v is not None] for q, values in by_question.items()}
    answered = [values for values in known.values() if values]
    if not answered:
        raise ValueError("there is no rating")
    interval = ratio_interval([sum(values) for values in answered], [len(values) for values in answered], seed=seed)
    turns, total = sum(map(len, answered)), sum(map(sum, answered))
    unread = len(seen) - turns
    return TurnScore(
        score=interval,
        turns=turns,
        unread=unread,
        low=(total + LOWEST * unread) / len(seen),
        high=(total + HIGHEST * unread) / len(seen),
    )


def by_category(ratings: Sequence[TurnRating], *, seed: int = 0) -> dict[str, TurnScore]:
    """Category → score, in order of first appearance; categories without a single rating are left out."""
    categories = dict.fromkeys(rating.category for rating in ratings if rating.value is not None)
    return {name: score_of([r for r in ratings if r.category == name], seed=seed) for name in categories}
