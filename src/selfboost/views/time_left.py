"""How long a run will still take: its planned work, at the pace of the stages that this run has finished.

Nothing is said before enough has been measured, and nothing of a machine is assumed but that kinds of work without a
measured stage relate to the others as in the plan.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

LEAST_SECONDS = 20.0
"""Seconds of finished work from which a pace is believed."""
KINDS: Mapping[str, str] = {"sample": "sample", "score": "score", "finetune": "train", "prefer": "train"}
"""Verb → kind of work; other verbs take next to no time."""


@dataclass(frozen=True, kw_only=True)
class StageAhead:
    """A planned stage."""

    name: str
    verb: str
    tokens: int
    """Planned tokens."""
    hours: float | None
    """Planned hours on some GPU; None where a model's size is unknown, 0 where none is at work here."""

    @property
    def kind(self) -> str:
        """Kind of work, whose stages have one pace; empty for what takes no time."""
        found = KINDS.get(self.verb, "")
        return f"{found} without a model" if found and self.hours == 0 else found

    @property
    def amount(self) -> float:
        """How much work of its kind: tokens where they set the pace, else hours, which know the models' sizes."""
        return self.hours if self.hours and self.verb != "sample" else float(self.tokens)


class Outline(Protocol):
    """Gives a run's planned stages, in order, once they are known."""

    def stages(self) -> Sequence[StageAhead]: ...


@dataclass
class Work:
    """Work of one kind: what it took, and what was planned for it."""

    seconds: float = 0.0
    amount: float = 0.0
    hours: float = 0.0

    def add(self, seconds: float, stage: StageAhead, share: float = 1.0) -> None:
        """Add a share of a stage."""
        self.seconds += seconds
        self.amount += share * stage.amount
        self.hours += share * (stage.hours or 0.0)


@dataclass
class TimeLeft:
    """Estimates the rest of a run; is told of every stage that is finished or reused."""

    outline: Outline
    start: float = field(default_factory=time.monotonic)
    _passed: dict[str, float | None] = field(default_factory=dict[str, "float | None"])
    """Name of a stage → seconds that it took; None if it was reused."""

    def passed(self, stage: str, seconds: float, *, reused: bool) -> None:
        """A stage is done."""
        self._passed[stage] = None if reused else seconds

    def seconds(self, stage: str, share: float, taken: float) -> float | None:
        """Seconds left while a stage is at work, of which a share is done; None while nobody can tell."""
        ahead = self.outline.stages()
        places = {each.name: at for at, each in enumerate(ahead)}
        here = places.get(stage)
        now = here if here is not None else max((places.get(name, -1) for name in self._passed), default=-1)
        done: dict[str, Work] = defaultdict(Work)
        for name, seconds in self._passed.items():
            if seconds is not None and name in places:
                done[ahead[places[name]].kind].add(seconds, ahead[places[name]])
        rest = [(each, 1.0) for each in ahead[now + 1 :]]
        if here is not None:
            done[ahead[here].kind].add(taken, ahead[here], share)
            rest.append((ahead[here], 1.0 - share))
        done.pop("", None)
        if not ahead or sum(work.seconds for work in done.values()) < LEAST_SECONDS:
            return None
        found = [_needs(each, part, done) for each, part in rest if each.kind]
        return None if None in found else sum(seconds for seconds in found if seconds is not None)


def _needs(stage: StageAhead, share: float, done: Mapping[str, Work]) -> float | None:
    """Seconds that a share of a stage will take, at the pace of its kind, else at that of all others."""
    own = done.get(stage.kind)
    if own and own.amount:
        return own.seconds / own.amount * share * stage.amount
    hours, seconds = sum(work.hours for work in done.values()), sum(work.seconds for work in done.values())
    return None if stage.hours is None or not hours else seconds / hours * share * stage.hours


def in_words(seconds: float | None) -> str:
    """What the terminal says of the run as a whole."""
    if seconds is None:
        return "run: estimating the time left"
    minutes = round(seconds / 60)
    if minutes < 1:
        return "run: less than a minute left"
    hours, rest = divmod(minutes, 60)
    return f"run: about {f'{hours} h {rest:02d} min' if hours else f'{minutes} min'} left"
