"""The implicit reward: how much likelier an answer is under a policy than under a reference (arXiv 2305.18290, eq. 5).

Without the factor beta, which only scales it, and the prompt's own term, which cancels between two answers to one
prompt.
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
class Implicit:
    """Log-probability of the answer under one model minus that under another."""

    policy: PathOrName = "seed_sft"
    """The better model: `seed_sft`, `previous`, or a folder or hub name with the same tokenizer."""
    reference: PathOrName = "initial"
    """The model it is compared with."""
    over: Literal["sum", "mean"] = "sum"
    """Sum over the answer's tokens, as in the paper, or mean."""
    threshold: Score = 0.0
    """Smallest score gap of a kept pair, in nats."""

    @property
    def unit(self) -> str:
        """The unit of its verdicts."""
        return "nats" if self.over == "sum" else "nats per token"

    def needs(self) -> Mapping[str, str]:
        """The two models."""
        return {"policy": self.policy, "reference": self.reference}

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        """The log-ratio of each answer, in nats; None, with a reason, if it is longer than a model reads."""
        sequences, reasons = same_ids(answers, models.values())
        policy, reference = trainer.logps(models["policy"], sequences), trainer.logps(models["reference"], sequences)
        ratios = (
            (summed(better) - summed(worse)) / (len(better) if self.over == "mean" else 1)
            for better, worse in zip(policy, reference, strict=True)
        )
        yield from reasoned_verdicts(answers, f"implicit({self.policy}/{self.reference})", reasons, ratios)
