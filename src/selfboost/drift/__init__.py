"""Drift: how far a policy has wandered from the initial model, and which figures of that are alarming.

`texts` and `judged` compute from held-out answers that a run has anyway, `passes` from a few further stages, `alarms`
says what is too much. `panel` puts a model's figures together; the loop keeps them in `run.json`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from selfboost.measures import Estimated
from selfboost.records import Answer


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The panel of one model. A figure is either in `figures` or, with the reason, in `absent`."""

    figures: Mapping[str, Estimated] = field(default_factory=dict[str, Estimated])
    """Name → value, with its 95 % interval over prompts where there is one."""
    absent: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name → why it could not be computed."""
    alarms: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name → a sentence, for the figures beyond their alarm level."""

    def value(self, name: str) -> float | None:
        """A figure's value; None where it is absent."""
        found = self.figures.get(name)
        return found.value if found else None


def request(answer: Answer) -> Hashable:
    """What tells an answer's prompt from others; unlike its id, it takes no hash of a JSON text."""
    return answer.prompt.messages, answer.prompt.prefix


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a benchmark sampled and scored while it rated one model on one split."""

    answers: dict[str, Sequence[Answer]] = field(default_factory=dict[str, Sequence[Answer]])
    """Stage → its answers; those to the same prompt are adjacent."""
    scores: dict[str, float] = field(default_factory=dict[str, float])
    """Id of an answer → the score that it was given last."""

    def most(self) -> Sequence[Answer]:
        """The answers of the largest sampling stage, the first of equals, without failed ones."""
        largest = max(self.answers.values(), key=len, default=())
        return [answer for answer in largest if answer.finish != "failed"]
