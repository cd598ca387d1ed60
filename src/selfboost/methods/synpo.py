"""SynPO: self-boosting with synthetic preference data (arXiv 2410.06961, algorithm 1).

A prompt generator and a response improver are trained from the seed; refined answers are chosen, the initial model's
are rejected, in every iteration; pairs accumulate and the policy is trained from the initial model again.
docs/methods/synpo.md shows the algorithm beside this code, and every choice that the paper leaves open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from selfboost.disk.sequences import Mapped
from selfboost.methods.parts.improver import ResponseImprover
from selfboost.methods.parts.pairing import scored_pairs
from selfboost.methods.parts.synthetic_preferences import SyntheticPreferences
from selfboost.records import Answer, Model, Pair, Prompt
from selfboost.verbs import Verbs


@dataclass(frozen=True, kw_only=True)
class SynPO(SyntheticPreferences):
    """Self-made prompts, refined answers over the initial model's, SimPO on all of them (arXiv 2410.06961)."""

    improver: ResponseImprover = field(default_factory=ResponseImprover)
    """Rewrites drafts."""
    chosen: Literal["refined", "resampled"] = "refined"
    """The improver's rewrite of the draft; or, to ablate the improver, a second answer of the policy."""
    rejected: Literal["initial", "draft"] = "initial"
    """The initial model's answer, in every iteration; or, to ablate that choice, the current policy's draft."""

    def iterate(self, run: Verbs) -> Model:
        """One iteration of algorithm 1: improver, pairs, policy."""
        improver = self.improver.train(run, self.sampling) if self.chosen == "refined" else None
        pairs = self.gather(run, lambda prompts: self._candidates(run, improver, prompts))
        return self.optimise(run, pairs)

    def _candidates(self, run: Verbs, improver: Model | None, prompts: Sequence[Prompt]) -> Sequence[Pair]:
        """For each prompt: a draft, its rewrite as the chosen answer, the initial model's as the rejected one."""
        drafts = run.sample("drafts", run.previous, prompts, self.sampling)
        return scored_pairs(
            run, prompts, self._chosen(run, improver, prompts, drafts), self._rejected(run, prompts, drafts)
        )

    def _chosen(
        self, run: Verbs, improver: Model | None, prompts: Sequence[Prompt], drafts: Sequence[Answer]
    ) -> Sequence[Answer]:
        if improver is None:
            return run.sample("resampled", run.previous, prompts, self.sampling)
        requests = Mapped(self.improver.request, prompts, drafts)
        return run.sample("refined", improver, requests, self.improver.sampling)

    def _rejected(self, run: Verbs, prompts: Sequence[Prompt], drafts: Sequence[Answer]) -> Sequence[Answer]:
        if self.rejected == "draft":
            return drafts
        return run.sample("initial-answers", run.initial, prompts, self.sampling)
