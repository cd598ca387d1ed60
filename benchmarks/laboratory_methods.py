"""A method for comparison alone: supervised fine-tuning on the seed for as long as self-play trains."""

from __future__ import annotations

from dataclasses import dataclass, replace

from selfboost.method import Method
from selfboost.records import Model
from selfboost.run import Run


@dataclass(frozen=True, kw_only=True)
class LongerSFT(Method):
    """The initial model fine-tuned on the seed by the recipe's training: in iteration k with k times the passes.

    So that a gain of iterated self-play is not taken for the gain of going through the gold answers more often.
    """

    def iterate(self, run: Run) -> Model:
        """One training with one schedule, from the initial model."""
        training = run.recipe.training
        longer = replace(training, epochs=run.iteration * training.epochs)
        return run.finetune("policy", run.seeds, longer, start=run.initial, model_name=f"iteration {run.iteration}")
