"""Scorers: what judges an answer. A file here is a scorer when it defines the class of its own name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from selfboost.records import Answer, Model, Verdict
from selfboost.train import Trainer


def pairwise(scorer: object) -> bool:
    """Whether a scorer compares the answers of a prompt with each other (class attribute `pairwise = True`).

    Its verdicts say nothing of an answer alone: the answers of one prompt must stand side by side. Of two, A and B, A
    gets L_AB and B gets L_BA, so that their gap is L_AB - L_BA.
    """
    return bool(getattr(scorer, "pairwise", False))


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


@dataclass(frozen=True, kw_only=True)
class ScoringWork:
    """What the score of one answer takes of the scorer's models: what a plan prices."""

    read: float
    """Tokens that each model reads."""
    written: float = 0.0
    """Tokens that it samples."""
    weight_bytes: int | None = None
    """Bytes of a weight of its models; None: the trainer holds them."""
    rows: int = 0
    """Rows whose keys and values are held at a time, where it samples."""
    longest: float = 0.0
    """Most tokens of such a row."""


@runtime_checkable
class Priced(Protocol):
    """A scorer that says what its scores take; of others each model reads prompt and answer once."""

    def work(self, prompt: float, answer: float) -> ScoringWork:
        """For an answer of so many tokens to a prompt of so many."""
        ...


def work_of(scorer: Scorer, prompt: float, answer: float) -> ScoringWork:
    """What a score takes; one that compares answers reads another one beside each."""
    if isinstance(scorer, Priced):
        return scorer.work(prompt, answer)
    return ScoringWork(read=prompt + answer * (2 if pairwise(scorer) else 1))
