"""Delta learning (arXiv 2507.06187): a weak model's answers over a weaker model's; no judge, no gold answers.

What counts is the difference between the two, not how good either is: the paper improves an 8B model by DPO on pairs of
a 3B model's answers over a 1.5B model's. Here `stronger` and `weaker` are any two models; by default the initial model
fine-tuned on the seed, over the initial model itself. The seed's prompts are answered, its answers are not trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from selfboost.data.seeds import Seed
from selfboost.disk.sequences import Selected, sorted_out
from selfboost.methods.parts.pairing import Filtered, objection, pick, prompts_of
from selfboost.methods.parts.policy_training import OwnAnswers
from selfboost.records import Model
from selfboost.setting_types import PathOrName
from selfboost.verbs import Settings, Sides, Verbs


@dataclass(frozen=True, kw_only=True)
class DeltaLearning(OwnAnswers):
    """A stronger model's answers over a weaker one's, both perhaps worse than the policy's own."""

    once: ClassVar[bool] = True
    stronger: PathOrName = "seed_sft"
    """Who answers the chosen side: a folder, a hub name, `initial` or `seed_sft`."""
    weaker: PathOrName = "initial"
    """Who answers the rejected side."""

    def check(self, recipe: Settings, seeds: Sequence[Seed]) -> None:
        """Check that there are two models.

        Raises:
            ValueError: both sides are by one model.
        """
        super().check(recipe, seeds)
        if self.stronger == self.weaker:
            raise ValueError(f"method.stronger and method.weaker are both {self.weaker!r}: two models must differ")

    @classmethod
    def suggested(cls) -> Mapping[str, Mapping[str, Any]]:
        """The paper's loss."""
        return {"loss": {"kind": "dpo"}}

    @property
    def scored(self) -> bool:
        """Never: the stronger model's answer is chosen."""
        return False

    def iterate(self, run: Verbs) -> Model:
        """Answer twice, prefer the stronger model's answer."""
        prompts = prompts_of(run.seeds)
        chosen = run.sample("stronger-answers", run.model(self.stronger), prompts, self.sampling)
        rejected = run.sample("weaker-answers", run.model(self.weaker), prompts, self.sampling)
        kept, counts = sorted_out(objection(*sides) for sides in zip(chosen, rejected, strict=True))
        run.count(Filtered, {"candidates": len(prompts), **counts})
        sides = (Selected(items, kept) for items in (prompts, chosen, rejected))
        return self.optimise(run, pick(run.pairs(Sides, *sides), self.pairs, run.recipe.run.seed))
