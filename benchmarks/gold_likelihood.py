"""How likely gold answers are under a model, per token: a measure on which even a model without chat ability can move.

`selfboost measure MODEL --benchmark benchmarks.gold_likelihood:GoldLikelihood --seed ROWS --trust benchmarks`.
Nothing is sampled, so the measure has no noise but that of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfboost import Example, Measure, Model, Rated, Verbs
from selfboost.scorers.likelihood import Likelihood


@dataclass(frozen=True, kw_only=True)
class GoldLikelihood:
    """Mean log-probability of a gold answer's tokens, in nats."""

    @property
    def measures(self) -> Mapping[str, Measure]:
        """One measure; higher is better."""
        return {"gold": Measure(title="log-probability of gold answers", unit="nats per token")}

    def rate(self, run: Verbs, model: Model, examples: Sequence[Example], split: str) -> Sequence[Rated]:
        """One value for each row; None for one that is longer than the model's context."""
        answers = [example.answer for example in examples]
        verdicts = run.score(f"{split}-gold", answers, Likelihood(policy=model.name, over="mean"), policy=model)
        return [
            Rated(prompt=example.prompt.id, split=split, values={"gold": (verdict.value,)})
            for example, verdict in zip(examples, verdicts, strict=True)
        ]
