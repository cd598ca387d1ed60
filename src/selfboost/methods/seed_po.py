"""Seed PO: preference optimisation on the seed alone, gold over the initial model's answer (arXiv 2410.06961, 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from selfboost.methods.parts.pairing import gold_pairs, pick, prompts_of
from selfboost.methods.parts.policy_training import OwnAnswers
from selfboost.records import Model
from selfboost.verbs import Verbs


@dataclass(frozen=True, kw_only=True)
class SeedPO(OwnAnswers):
    """Gold answers over the initial model's on the seed's own prompts, by the recipe's loss; no synthetic data."""

    once: ClassVar[bool] = True

    @property
    def scored(self) -> bool:
        """Never: gold is chosen."""
        return False

    def iterate(self, run: Verbs) -> Model:
        """One pair per seed, at most `pairs` of them."""
        own = run.sample("initial-answers", run.initial, prompts_of(run.seeds), self.sampling)
        return self.optimise(run, pick(gold_pairs(run, own), self.pairs, run.recipe.run.seed))
