"""What SynPO and its baselines share, so that a comparison differs in one line of the recipe: `method.kind`.

New prompts, candidate pairs, the filter, more prompts where it leaves too few, and the policy's training. A method says
where its candidate pairs come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from selfboost.data.hub_data import is_hub_name
from selfboost.data.seeds import Seed, question_texts, read_seeds
from selfboost.demo import EMBEDDED
from selfboost.method import Method, ModelName
from selfboost.methods.parts.beta_search import BetaSearch
from selfboost.methods.parts.improver import ResponseImprover
from selfboost.methods.parts.pairing import PairFilter, pick
from selfboost.prompts.generator import PromptGenerator
from selfboost.prompts.keywords import keyword_pool
from selfboost.prompts.self_instruct import SelfInstruct
from selfboost.records import Model, Pair, Prompt, Sampling
from selfboost.setting_types import Count
from selfboost.verbs import Settings, Verbs, Window

MARGIN = 1.2
"""More prompts than the pass rate asks for, so that one further batch mostly suffices."""


@dataclass(frozen=True, kw_only=True)
class SyntheticPreferences(Method):
    """Settings of SynPO and of the methods it is compared with; what a method has no use for, it leaves alone."""

    start: ModelName = "initial"
    """The policy is trained from the initial model in every iteration."""
    reference: ModelName = "initial"
    """The reference, for losses that need one (SimPO needs none)."""
    window: Window = "all"
    """The pairs of all iterations accumulate."""
    prompts_from: Literal["generator", "seed"] = "generator"
    """Write new prompts, or answer the seed's."""
    prompts: Count = 50_000
    """Keyword lists, so prompts, per iteration."""
    more_prompts: Annotated[float, Field(ge=0)] = 1.0
    """Where the filter leaves fewer pairs than wanted, write up to this many times `prompts` more."""
    pairs: Count = 10_000
    """Pairs of an iteration that survive the filter and are kept."""
    samples: Annotated[int, Field(ge=2)] = 5
    """Own answers per prompt, where the best is preferred to the worst (Sampling-Ranking, Self-Rewarding)."""
    generator: PromptGenerator = field(default_factory=PromptGenerator)
    """Writes new prompts from keywords."""
    improver: ResponseImprover = field(default_factory=ResponseImprover)
    """Rewrites drafts (SynPO)."""
    sampling: Sampling = field(default_factory=Sampling)
    """How drafts, own answers and the initial model's answers are sampled."""
    filter: PairFilter = field(default_factory=PairFilter)
    """Which pairs are kept."""
    search: BetaSearch = field(default_factory=BetaSearch)
    """The search for the loss's beta."""
    self_instruct: SelfInstruct = field(default_factory=SelfInstruct)
    """Prompts by plain self-instruct, for the report's comparison only."""

    def __post_init__(self) -> None:
        if self.sampling.samples != 1:
            raise ValueError(f"sampling.samples = {self.sampling.samples}: must be 1; `samples` says how many to rank")

    @property
    def extra(self) -> int:
        """Most keyword lists of an iteration beyond `prompts`."""
        return math.floor(self.prompts * self.more_prompts)

    def check(self, recipe: Settings, seeds: Sequence[Seed]) -> None:
        """Whether the keyword pool can give every list it must, and the loss has what is searched for."""
        self.search.check(recipe)
        if self._writes_prompts:
            self.generator.check(question_texts(seeds), self._lists(recipe))

    @property
    def _writes_prompts(self) -> bool:
        return self.prompts_from == "generator" and not self.once

    def reads(self, seed: str) -> Mapping[str, str]:
        """What new prompts come from and keep away from, where there are any."""
        return self.generator.reads(seed) if self._writes_prompts else {}

    def remarks(self) -> Sequence[str]:
        """That there may be more prompts."""
        if not (self._writes_prompts and self.more_prompts):
            return ()
        return (f"where the filter leaves too few pairs, up to {self.more_prompts:.0%} more prompts come",)

    @classmethod
    def suggested(cls) -> Mapping[str, Mapping[str, Any]]:
        """SynPO's loss."""
        return {"loss": {"kind": "simpo"}}

    def fitted(self, recipe: Settings, seed: str) -> Mapping[str, Any]:
        """Settings with which there are enough keyword lists: the embedded paragraphs, or counts that fit the seed."""
        if self.once or is_hub_name(seed):
            return {}
        if seed == EMBEDDED:
            return {"generator": {"paragraphs": EMBEDDED}, "prompts": 10_000, "pairs": 2_000}
        seeds, _ = read_seeds(Path(seed))
        lists = keyword_pool(question_texts(seeds)).capacity // 4  # well below all, since prompts share words
        prompts = min(self.prompts, max(1, int(lists / recipe.run.iterations / (1 + self.more_prompts))))
        return {"prompts": prompts, "pairs": max(1, prompts // 5)}

    def gather(
        self, run: Verbs, candidates: Callable[[Sequence[Prompt]], Sequence[Pair]], threshold: float | None = None
    ) -> list[Pair]:
        """This iteration's pairs: candidates for new prompts, filtered; more prompts until there are enough.

        `threshold` is the least score gap where the filter names none, by default that of the recipe's scorer.
        """
        if self.self_instruct.prompts and run.iteration == 1:
            self.self_instruct.write(run)
        self.search.check_measure(run)
        least = run.recipe.scorer.threshold if threshold is None else threshold
        first = (self.prompts + self.extra) * (run.iteration - 1)
        kept: list[Pair] = []
        used, lists, batch = 0, self.prompts, 1
        while lists:
            with run.inside(f"batch-{batch}") if batch > 1 else nullcontext():
                kept += self._kept(run, candidates(self._prompts(run, first + used, lists)), least)
            used, batch = used + lists, batch + 1
            lists = self._lists_to_come(len(kept), used)
        self._report(run, len(kept))
        return pick(kept, self.pairs, run.recipe.run.seed + run.iteration)

    def _lists_to_come(self, kept: int, used: int) -> int:
        """Keyword lists of the next batch: none where there are pairs enough, or where more of the same is no help."""
        if kept >= self.pairs or not kept or self.prompts_from == "seed":
            return 0
        wanted = math.ceil(MARGIN * (self.pairs - kept) * used / kept)
        return min(wanted, self.prompts + self.extra - used)

    def optimise(self, run: Verbs, pairs: Sequence[Pair], start: ModelName | None = None) -> Model:
        """The policy, trained on these pairs and those of earlier iterations that the window includes.

        `start` is what a method's own definition begins with, whatever the shared settings say.
        """
        pairs = run.windowed(pairs, self.window)
        first, reference = run.model(start or self.start), run.model(start or self.reference)
        return self.search.prefer(run, pairs, start=first, reference=reference)

    def _prompts(self, run: Verbs, first: int, count: int) -> list[Prompt]:
        if self.prompts_from == "seed":
            return [seed.prompt for seed in run.seeds]
        return self.generator.new_prompts(run, first, count, self._lists(run.recipe))

    def _lists(self, recipe: Settings) -> int:
        """Keyword lists of the whole run at most. Each iteration has a block of its own, so that a run can go on."""
        return (self.prompts + self.extra) * recipe.run.iterations

    def _kept(self, run: Verbs, candidates: Sequence[Pair], threshold: float) -> list[Pair]:
        kept, counts = self.filter.keep(candidates, threshold)
        run.count("filter", counts)
        return kept

    def _report(self, run: Verbs, kept: int) -> None:
        candidates = run.notes["filter"].get("candidates", 0)
        run.notes["pass rate"] = round(kept / candidates, 4) if candidates else 0.0
        if kept < self.pairs:
            run.notes["missing pairs"] = self.pairs - kept
            why = "the seed has no more prompts" if self.prompts_from == "seed" else "no more prompts are allowed"
            hint = "" if self.prompts_from == "seed" else " (method.more_prompts)"
            run.say(
                f"iteration {run.iteration}: {kept} of the {self.pairs} wanted pairs, out of {candidates} candidates; "
                f"{why}{hint}, so it trains on those"
            )
