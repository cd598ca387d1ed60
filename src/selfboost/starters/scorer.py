"""Starter: answers of about a wished length score best; no model is needed.

A scorer yields one verdict for each answer, in order; a failed answer gets a reason, never a guessed score.
docs/guides/scorer.md says more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from selfboost import Answer, Model, Trainer, Verdict
from selfboost.setting_types import Score, Several


@dataclass(frozen=True, kw_only=True)
class Starter:
    """Minus the number of words by which an answer misses a wished length."""

    words: Several = 6
    """The wished length."""
    threshold: Score = 1.0
    """Smallest score gap of a kept pair, in words."""

    def needs(self) -> Mapping[str, str]:
        """Models it needs, role → name, such as {"judge": "owner/name"}; here none."""
        return {}

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """One verdict for each answer, in order; higher is better."""
        del models, trainer
        for answer in answers:
            failed = answer.finish == "failed"
            value = None if failed else -float(abs(len(answer.text.split()) - self.words))
            yield Verdict(answer=answer.id, scorer="words", value=value, reason=answer.reason if failed else "")
