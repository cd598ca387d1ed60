"""How long this machine takes for a recipe's work, measured on the recipe's own model before a run is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfboost.scorers import Scorer


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Seconds of a stage: a fixed part, mostly its model's loading, and one for each token."""

    fixed: float
    each: float

    def seconds(self, tokens: float) -> float:
        """Of a stage with so many tokens."""
        return self.fixed + self.each * tokens


@dataclass(frozen=True, kw_only=True)
class MeasuredPace:
    """What was measured."""

    machine: str
    """What was measured on, such as `2 CPU cores`."""
    memory: int
    """Its bytes: the GPU's, or this machine's."""
    sampling: Rate
    """By new token, with as many rows at a time as the engine takes; prompts are read at the rate of `reading`."""
    reading: Rate
    """By token of prompt and answer, by the trainer's log-probabilities."""
    training: Rate
    """By token of prompt and answer in supervised fine-tuning with the settings of `training`."""
    scoring: Sequence[tuple[Scorer, Rate]]
    """By token of prompt and answer: scorers that need no model."""
    answer: float
    """Mean tokens of the initial model's answers to the seed's prompts, within the method's `max_tokens`."""
    ended: float
    """Share of those answers that the model ends by itself."""
    gpu: bool
    """Whether that is a GPU."""
    process: int
    """Most bytes of this process while it answered one prompt: libraries, and the model once."""
    peak: int
    """Most bytes that it held in all, on the GPU if the work was there."""
    seconds: float
    """How long the measurement took."""
    processes: int = 1
    """Processes that sample and score side by side in the run; one was measured."""

    def scores(self, scorer: Scorer) -> Rate | None:
        """A measured scorer's rate."""
        return next((rate for each, rate in self.scoring if each == scorer), None)
