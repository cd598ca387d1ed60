"""How likely an answer is under a model: the model's own confidence as the judge, with no further training.

Among a model's samples the more likely ones are right more often if its mistakes are scattered and its right answers
are not; the score cannot detect confident mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from selfboost.records import Answer, Model, Verdict
from selfboost.scorers.contexts import same_ids
from selfboost.scorers.verdicts import reasoned_verdicts
from selfboost.setting_types import PathOrName, Score
from selfboost.statistics import summed
from selfboost.train import Trainer


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """Log-probability of the answer under one model."""

    policy: PathOrName = "seed_sft"
    """The judging model: `initial`, `previous`, `seed_sft`, or a folder or hub name with the same tokenizer."""
    over: Literal["sum", "mean"] = "sum"
    """Sum over the answer's tokens, or mean."""
    threshold: Score = 0.0
    """Smallest score gap of a kept pair, in nats."""

    @property
    def unit(self) -> str:
        """The unit of its verdicts."""
        return "nats" if self.over == "sum" else "nats per token"

    def needs(self) -> Mapping[str, str]:
        """The judging model."""
        return {"policy": self.policy}

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """The log-probability of each answer, in nats; None, with a reason, if it is longer than the model reads."""
        sequences, reasons = same_ids(answers, models.values())
        found = trainer.logps(models["policy"], sequences)
        values = (summed(logps) / (len(logps) if self.over == "mean" else 1) for logps in found)
        yield from reasoned_verdicts(answers, f"likelihood({self.policy})", reasons, values)
