"""Sampling-Ranking: the best against the worst of n own answers, by a scorer (SynPO's baseline, arXiv 2410.06961, 3.1).

The same prompts, pairs and loss as SynPO; `prompts_from = "seed"` uses the seed's prompts instead of new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from selfboost.method import Method, ModelName, Window
from selfboost.pairing import PairFilter, best_and_worst, pick
from selfboost.prompt_generator import PromptGenerator
from selfboost.recipe import Recipe
from selfboost.records import Model, Pair, Sampling
from selfboost.run import Run
from selfboost.seeds import Seed, question_texts
from selfboost.setting_types import Count


@dataclass(frozen=True, kw_only=True)
class SamplingRanking(Method):
    """The best of n own answers over the worst, by a scorer: rejection sampling without an improver."""

    start: ModelName = "initial"
    """As SynPO, so that only the source of the answers differs."""
    reference: ModelName = "initial"
    """The reference, for losses that need one."""
    window: Window = "all"
    """As SynPO."""
    prompts_from: Literal["generator", "seed"] = "generator"
    """Write new prompts, or answer the seed's."""
    prompts: Count = 50_000
    """New prompts per iteration."""
    pairs: Count = 10_000
    """Pairs kept per iteration."""
    generator: PromptGenerator = field(default_factory=PromptGenerator)
    """Writes new prompts from keywords."""
    sampling: Sampling = field(default_factory=lambda: Sampling(samples=5))
    """How the policy's answers are sampled; `samples` is n."""
    filter: PairFilter = field(default_factory=PairFilter)
    """Which pairs are kept."""

    def __post_init__(self) -> None:
        if self.sampling.samples < 2:
            raise ValueError(f"sampling.samples = {self.sampling.samples}: ranking needs at least 2 answers per prompt")

    def check(self, recipe: Recipe, seeds: Sequence[Seed]) -> None:
        """Whether the keyword pool can give every list it must."""
        if self.prompts_from == "generator":
            self.generator.pool(question_texts(seeds)).draw(self.prompts * recipe.run.iterations, seed=recipe.run.seed)

    def iterate(self, run: Run) -> Model:
        """Sample, rank, prefer."""
        if self.prompts_from == "seed":
            prompts = [seed.prompt for seed in run.seeds]
        else:
            prompts = self.generator.new_prompts(run, self.prompts)
        answers = run.sample("answers", run.previous, prompts, self.sampling)
        verdicts = run.score("answer-scores", answers)
        n = self.sampling.samples
        candidates: list[Pair] = []
        for i, prompt in enumerate(prompts):
            ranked = best_and_worst(answers[i * n : (i + 1) * n], verdicts[i * n : (i + 1) * n])
            if ranked is not None:
                (best, high), (worst, low) = ranked
                candidates.append(run.pair(prompt, best, worst, (high, low)))
        kept, run.notes["filter"] = self.filter.keep(candidates, run.recipe.scorer.threshold)
        pairs = run.windowed(pick(kept, self.pairs, run.recipe.run.seed + run.iteration), self.window)
        return run.prefer("policy", pairs, start=run.model(self.start), reference=run.model(self.reference))
