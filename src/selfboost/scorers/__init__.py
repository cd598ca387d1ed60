"""Scorers: what judges an answer. A file here is a scorer when it defines the class of its own name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from selfboost.endpoints.kept_replies import tell_nobody
from selfboost.engines import Batching
from selfboost.measures import SCORE
from selfboost.notes import Note
from selfboost.records import Answer, Model, Verdict
from selfboost.train import Trainer


def pairwise(scorer: object) -> bool:
    """Whether a scorer compares the answers of a prompt with each other (class attribute or property `pairwise`).

    Its verdicts say nothing about a single answer: the answers to one prompt must be adjacent. Of two, A and B, A gets
    L_AB and B gets L_BA, so that their gap is L_AB - L_BA.
    """
    return bool(getattr(scorer, "pairwise", False))


def unit_of(scorer: object) -> str:
    """The unit of a scorer's verdicts, as in `Measure` (class attribute or property `unit`; else a plain score)."""
    return str(getattr(scorer, "unit", SCORE))


class Scorer(Protocol):
    """A component that scores. Higher is better; scores of different scorers are never compared."""

    @property
    def threshold(self) -> float:
        """Smallest gap between chosen and rejected of a kept pair: per scorer, since scales differ."""
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
    """The work of the scorer's models for one score, from which a plan estimates the cost."""

    read: float
    """Tokens that each model reads."""
    written: float = 0.0
    """Tokens that it samples."""
    weight_bytes: int | None = None
    """Bytes per weight of its models; None: the trainer holds them."""
    rows: int = 0
    """Rows whose keys and values are held at a time, if it samples."""
    longest: float = 0.0
    """Most tokens of such a row."""
    batching: Batching = "steps"
    """How it samples."""
    requests: float = 0.0
    """Requests to a server, whose model costs no GPU time here: `read` and `written` are its tokens."""


@runtime_checkable
class Priced(Protocol):
    """A scorer that states the work of a score; for others, each model reads prompt and answer once."""

    def work(self, prompt: float, answer: float) -> ScoringWork:
        """The work for an answer and a prompt of these lengths in tokens."""
        ...


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """What a run lends to a scorer whose verdicts cost money."""

    cache: Path | None = None
    """A folder that outlives a kill, for what can be asked again; None: there is none."""
    say: Callable[[str], None] = tell_nobody
    """Tells the user something."""


@runtime_checkable
class Paying(Protocol):
    """A scorer whose verdicts cost money: it keeps every reply that it pays for."""

    def score_at(
        self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer, workplace: Workplace
    ) -> Iterator[Verdict]:
        """As `Scorer.score`."""
        ...


@runtime_checkable
class Noting(Protocol):
    """A scorer that has something to say of its own verdicts."""

    def note_on(self, answers: Sequence[Answer], verdicts: Sequence[Verdict]) -> tuple[Note, str] | None:
        """A note on all verdicts of a stage, and the same in a sentence."""
        ...


def scored(
    scorer: Scorer, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer, workplace: Workplace
) -> Iterator[Verdict]:
    """The scorer's verdicts, with a workplace if it pays for them."""
    if isinstance(scorer, Paying):
        return scorer.score_at(answers, models, trainer, workplace)
    return scorer.score(answers, models, trainer)


@runtime_checkable
class Looking(Protocol):
    """A scorer that finds out without loading whether it can use a model, and what must be said of it."""

    def look(self, role: str, path: str) -> Sequence[str]:
        """Notes on the model of a role; raises ValueError with one sentence where it cannot serve."""
        ...


def notes_of(scorer: Scorer, skip: Collection[str] = ()) -> list[str]:
    """Notes of a scorer on its models that are folders here, except those named in `skip`.

    Raises:
        ValueError: a model cannot serve.
    """
    if not isinstance(scorer, Looking):
        return []
    found = [(role, path) for role, path in scorer.needs().items() if path not in skip and Path(path).is_dir()]
    name = type(scorer).__name__
    return [f"scorer {name}, {path}: {note}" for role, path in found for note in scorer.look(role, path)]


def work_of(scorer: Scorer, prompt: float, answer: float) -> ScoringWork:
    """The work of a score; a pairwise scorer also reads a second answer."""
    if isinstance(scorer, Priced):
        return scorer.work(prompt, answer)
    return ScoringWork(read=prompt + answer * (2 if pairwise(scorer) else 1))
