"""Scorers: what judges an answer. A file here is a scorer when it defines the class of its own name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from selfboost.measures import SCORE
from selfboost.records import Answer, Model, Verdict
from selfboost.train import Trainer


def pairwise(scorer: object) -> bool:
    """Whether a scorer compares the answers of a prompt with each other (class attribute `pairwise = True`).

    Its verdicts say nothing of an answer alone: the answers of one prompt must stand side by side. Of two, A and B, A
    gets L_AB and B gets L_BA, so that their gap is L_AB - L_BA.
    """
    return bool(getattr(scorer, "pairwise", False))


def unit_of(scorer: object) -> str:
    """The unit of a scorer's verdicts, as a measure has it (class attribute or property `unit`; else a plain score)."""
    return str(getattr(scorer, "unit", SCORE))


class Scorer(Protocol):
    """A component that scores. Higher is better; scores of different scorers are never compared."""

    @property
    def threshold(self) -> float:
        """Gap between chosen and rejected from which a pair is kept: per scorer, since scales differ."""
        ...

    def needs(self) -> Mapping[str, str]:
        """Models it needs, role → name: `initial`, `previous`, `seed_sft`, `seed_reward`, or a folder or hub name."""
        ...

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """Yield one verdict per answer, in order. `models` holds, by role, what `needs` asked for.

        An answer is judged as a reply to `answer.prompt`, whose token ids are `answer.prompt_ids`.
        """
        ...
