"""Seed PO: preference optimisation on the seed alone, gold over the initial model's answer (arXiv 2410.06961, 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from selfboost.methods.parts.pairing import gold_pairs, pick
from selfboost.methods.parts.policy_training import PolicyTraining
from selfboost.records import Model, Sampling
from selfboost.setting_types import Count
from selfboost.verbs import Verbs


@dataclass(frozen=True, kw_only=True)
class SeedPO(PolicyTraining):
    """Gold answers over the initial model's on the seed's own prompts, by the recipe's loss; no synthetic data."""

    once: ClassVar[bool] = True
    pairs: Count = 10_000
    """Most pairs to train on, one per seed."""
    sampling: Sampling = field(default_factory=Sampling)
    """How the initial model's answers are sampled."""

    def __post_init__(self) -> None:
        if self.sampling.samples != 1:
            raise ValueError(f"sampling.samples = {self.sampling.samples}: must be 1, one own answer beside the gold")

    def iterate(self, run: Verbs) -> Model:
        """One pair per seed, at most `pairs` of them."""
        own = run.sample("initial-answers", run.initial, [seed.prompt for seed in run.seeds], self.sampling)
        return self.optimise(run, pick(gold_pairs(run, own), self.pairs, run.recipe.run.seed))
