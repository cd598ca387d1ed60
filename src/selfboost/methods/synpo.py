"""SynPO: self-boosting with synthetic preference data (arXiv 2410.06961, algorithm 1).

A prompt generator and a response improver are trained from the seed; refined answers are chosen, the initial model's
are rejected, in every iteration; pairs accumulate and the policy is trained from the initial model again.
Left out: the search for beta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from selfboost.improver import ResponseImprover
from selfboost.method import Method, ModelName, Window
from selfboost.pairing import PairFilter, pick, scored_pairs
from selfboost.prompt_generator import PromptGenerator
from selfboost.recipe import Recipe
from selfboost.records import Model, Sampling
from selfboost.run import Run
from selfboost.seeds import Seed, question_texts
from selfboost.setting_types import Count


@dataclass(frozen=True, kw_only=True)
class SynPO(Method):
    """Self-made prompts, refined answers over the initial model's, SimPO on all of them (arXiv 2410.06961)."""

    start: ModelName = "initial"
    """The policy is trained from the initial model in every iteration."""
    reference: ModelName = "initial"
    """The reference, for losses that need one (SimPO needs none)."""
    window: Window = "all"
    """The pairs of all iterations accumulate."""
    prompts: Count = 50_000
    """Keyword lists, so prompts, per iteration."""
    pairs: Count = 10_000
    """Pairs of an iteration that survive the filter and are kept."""
    generator: PromptGenerator = field(default_factory=PromptGenerator)
    """Writes new prompts from keywords."""
    improver: ResponseImprover = field(default_factory=ResponseImprover)
    """Rewrites drafts."""
    sampling: Sampling = field(default_factory=Sampling)
    """How drafts and the initial model's answers are sampled."""
    filter: PairFilter = field(default_factory=PairFilter)
    """Which pairs are kept."""

    def check(self, recipe: Recipe, seeds: Sequence[Seed]) -> None:
        """Whether the keyword pool can give every list it must."""
        self.generator.pool(question_texts(seeds)).draw(self.prompts * recipe.run.iterations, seed=recipe.run.seed)

    def iterate(self, run: Run) -> Model:
        """One iteration, as in the paper's algorithm."""
        improver = self.improver.train(run, self.sampling)
        prompts = self.generator.new_prompts(run, self.prompts)
        drafts = run.sample("drafts", run.previous, prompts, self.sampling)
        requests = [self.improver.request(p, d) for p, d in zip(prompts, drafts, strict=True)]
        refined = run.sample("refined", improver, requests, self.improver.sampling)
        initial = run.sample("initial-answers", run.initial, prompts, self.sampling)
        candidates = scored_pairs(run, prompts, refined, initial)
        kept, run.notes["filter"] = self.filter.keep(candidates, run.recipe.scorer.threshold)
        kept = pick(kept, self.pairs, run.recipe.run.seed + run.iteration)
        pairs = run.windowed(kept, self.window)
        return run.prefer("policy", pairs, start=run.model(self.start), reference=run.model(self.reference))
