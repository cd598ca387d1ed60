"""What SynPO and its baselines share, so that a comparison differs in one line of the recipe: `method.kind`.

New prompts, candidate pairs, the filter, more prompts if it leaves too few, and the policy's training. A method defines
where its candidate pairs come from.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from selfboost.data.seeds import Seed, spoken_texts
from selfboost.demo import EMBEDDED
from selfboost.disk.sequences import Joined
from selfboost.methods.parts.pairing import Filtered, PairFilter, gold_pairs, pick, prompts_of
from selfboost.methods.parts.policy_training import OwnAnswers
from selfboost.notes import Note
from selfboost.prompts.generator import PromptGenerator
from selfboost.prompts.keywords import keyword_pool
from selfboost.prompts.self_instruct import SelfInstruct
from selfboost.records import Model, Pair, Prompt
from selfboost.setting_types import MOST_ROWS, NEW, Count
from selfboost.verbs import Settings, Verbs, Window

MARGIN = 1.2
"""More prompts than the pass rate requires, so that one more batch usually suffices."""


@dataclass(frozen=True, kw_only=True)
class PairYield(Note):
    """How many of an iteration's candidate pairs passed the filter, and how many are still missing."""

    pass_rate: float
    """Share of the candidates."""
    missing_pairs: int = 0


@dataclass(frozen=True, kw_only=True)
class SyntheticPreferences(OwnAnswers):
    """Settings of SynPO and of the methods that answer the same new prompts."""

    window: Window = "all"
    """The pairs of all iterations accumulate."""
    prompts_from: Literal["generator", "seed"] = "generator"
    """Write new prompts, or answer the seed's."""
    prompts: Count = 50_000
    """Keyword lists, and so prompts, per iteration."""
    more_prompts: Annotated[float, Field(ge=0, le=100)] = 1.0
    """If the filter leaves fewer pairs than wanted, write up to this multiple of `prompts` more."""
    generator: PromptGenerator = field(default_factory=PromptGenerator)
    """Writes new prompts from keywords."""
    filter: PairFilter = field(default_factory=PairFilter)
    """Which pairs are kept."""
    gold_share: Annotated[float, Field(ge=0, le=0.9)] = field(default=0.0, metadata=NEW)
    """Share of an iteration's pairs that prefer a seed's gold answer to the policy's own: it holds the policy to the
    seed where scores alone would lead it away. 0 is the papers'."""
    self_instruct: SelfInstruct = field(default_factory=SelfInstruct)
    """Prompts by plain self-instruct, only for comparison in the report."""

    @property
    def extra(self) -> int:
        """Most keyword lists of an iteration beyond `prompts`."""
        return math.floor(self.prompts * self.more_prompts)

    def check(self, recipe: Settings, seeds: Sequence[Seed]) -> None:
        """Check that the keyword pool has enough lists, and that the loss has what the search needs.

        Raises:
            ValueError: there would be too many lists, or something is missing.
        """
        super().check(recipe, seeds)
        if self._writes_prompts:
            if (lists := self._lists(recipe)) > MOST_ROWS:
                why = f"with method.more_prompts and run.iterations this makes {lists:,} keyword lists"
                raise ValueError(f"method.prompts = {self.prompts}: {why}, at most {MOST_ROWS:,} are allowed")
            self.generator.check(spoken_texts(seeds), lists)

    @property
    def _writes_prompts(self) -> bool:
        return self.prompts_from == "generator"

    def reads(self, seed: str) -> Mapping[str, str]:
        """What new prompts are made from and must keep away from, if any are written."""
        return self.generator.reads(seed) if self._writes_prompts else {}

    def remarks(self) -> Sequence[str]:
        """States who chooses beta, and that there may be more prompts."""
        if not (self._writes_prompts and self.more_prompts):
            return super().remarks()
        return (
            *super().remarks(),
            f"if the filter leaves too few pairs, up to {self.more_prompts:.0%} more prompts are written",
        )

    def fitted(self, recipe: Settings, seed: str, seeds: Sequence[Seed]) -> Mapping[str, Any]:
        """Settings with which there are enough keyword lists: the embedded paragraphs, or counts that fit the seed."""
        if seed == EMBEDDED:
            return {"generator": {"paragraphs": EMBEDDED}, "prompts": 10_000, "pairs": 2_000}
        if not seeds:
            return {}
        lists = keyword_pool(spoken_texts(seeds)).capacity // 4  # well below the capacity, since prompts share words
        prompts = min(self.prompts, max(1, int(lists / recipe.run.iterations / (1 + self.more_prompts))))
        return {"prompts": prompts, "pairs": max(1, prompts // 5)}

    def for_trial(self, *, new_prompts: bool) -> Self:
        """As it is, or on the seed's prompts."""
        return self if new_prompts else replace(self, prompts_from="seed")

    def gather(
        self, run: Verbs, candidates: Callable[[Sequence[Prompt]], Sequence[Pair]], threshold: float | None = None
    ) -> Sequence[Pair]:
        """This iteration's pairs: candidates for new prompts, filtered; more prompts until there are enough.

        `threshold` is the smallest score gap if the filter sets none; by default that of the recipe's scorer.
        """
        if self.self_instruct.prompts and run.iteration == 1:
            self.self_instruct.write(run)
        least = run.recipe.scorer.threshold if threshold is None else threshold
        first = (self.prompts + self.extra) * (run.iteration - 1)
        parts: list[Sequence[Pair]] = []
        used, lists, batch, dropped = 0, self.prompts, 1, Counter[str]()
        while lists:
            with run.inside(f"batch-{batch}") if batch > 1 else nullcontext():
                found = candidates(self._prompts(run, first + used, lists))
                parts.append(self._kept(run, found, least, dropped))
            used, batch = used + lists, batch + 1
            lists = self._lists_to_come(sum(map(len, parts)), used)
        kept = parts[0] if len(parts) == 1 else Joined(parts)
        self._report(run, len(kept), Filtered(counts=dropped))
        picked = pick(kept, self.pairs, run.recipe.run.seed + run.iteration)
        return self._with_gold(run, picked) if self.gold_share and picked else picked

    def _with_gold(self, run: Verbs, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """Pairs, a random share of them replaced by gold over the policy's own answers to the seed's prompts.

        Each seed is answered as often as it takes; what is missing, because answers were gold's own, stays as it was.
        """
        wanted = round(self.gold_share * len(pairs))
        samples = max(1, math.ceil(wanted / len(run.seeds)))
        sampling = replace(self.sampling, samples=samples)
        own = run.sample("own-seed-answers", run.previous, prompts_of(run.seeds), sampling)
        gold = pick(gold_pairs(run, own), wanted, run.recipe.run.seed + run.iteration)
        return Joined([pick(pairs, len(pairs) - len(gold), run.recipe.run.seed + run.iteration), gold])

    def _lists_to_come(self, kept: int, used: int) -> int:
        """Keyword lists of the next batch: none if there are enough pairs, or if more prompts would not help."""
        if kept >= self.pairs or not kept or self.prompts_from == "seed":
            return 0
        wanted = math.ceil(MARGIN * (self.pairs - kept) * used / kept)
        return min(wanted, self.prompts + self.extra - used)

    def optimise(self, run: Verbs, pairs: Sequence[Pair]) -> Model:
        """The policy, trained on these pairs and those of earlier iterations within the window."""
        return super().optimise(run, run.windowed(pairs, self.window))

    def _prompts(self, run: Verbs, first: int, count: int) -> Sequence[Prompt]:
        if self.prompts_from == "seed":
            return prompts_of(run.seeds)
        return self.generator.new_prompts(run, first, count, self._lists(run.recipe))

    def _lists(self, recipe: Settings) -> int:
        """Most keyword lists of the whole run. Each iteration has its own block, so that a run can be resumed."""
        return (self.prompts + self.extra) * recipe.run.iterations

    def _kept(self, run: Verbs, candidates: Sequence[Pair], threshold: float, dropped: Counter[str]) -> Sequence[Pair]:
        kept, counts = self.filter.keep(candidates, threshold)
        run.count(Filtered, counts)
        dropped.update(counts)
        return kept

    def _report(self, run: Verbs, kept: int, filtered: Filtered) -> None:
        candidates = filtered.counts.get(filtered.total, 0)
        rate = round(kept / candidates, 4) if candidates else 0.0
        run.note(PairYield(pass_rate=rate, missing_pairs=max(0, self.pairs - kept)))
        if 0 < kept < self.pairs:  # without any, the training says what is wrong
            why = "the seed has no more prompts" if self.prompts_from == "seed" else "no more prompts are allowed"
            hint = "" if self.prompts_from == "seed" else " (method.more_prompts)"
            lost = f"; {filtered.nothing_left}" if filtered.lost else ""
            run.say(
                f"iteration {run.iteration}: {kept} of the {self.pairs} wanted pairs, out of {candidates} candidates; "
                f"{why}{hint}; training on these {kept} instead{lost}"
            )
