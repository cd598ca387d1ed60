"""SPIN: self-play fine-tuning (arXiv 2401.01335, algorithm 1).

The gold answer is chosen, the policy's own answer rejected; policy and reference start from the previous iterate. With
`loss.kind = "dpo"` the loss is the paper's equation 4.7, its `shape` the logistic function or the hinge. In the paper
`betas = [0.1, 0.1, 0.1, 5.0]` and `learning_rates = [5e-7, 5e-7, 1e-7]` (its iterations count from 0).
"""

from __future__ import annotations

from dataclasses import dataclass

from selfboost.methods.parts.self_play import SelfPlay
from selfboost.records import Model
from selfboost.verbs import Verbs, Window


@dataclass(frozen=True, kw_only=True)
class SPIN(SelfPlay):
    """The policy plays against its former self: gold answers over its own (arXiv 2401.01335)."""

    window: Window = "last_two"
    """The paper trains on the current and the previous iteration's pairs."""

    @property
    def scored(self) -> bool:
        """Never: gold is chosen."""
        return False

    def iterate(self, run: Verbs) -> Model:
        """One round of self-play."""
        own = self.own_answers(run)
        return self.optimise(run, self.gold_over_own(run, own), noise="none")
