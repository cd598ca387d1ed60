"""Sampling-Ranking: the best against the worst of n own answers, by a scorer (SynPO's baseline, arXiv 2410.06961, 3.1).

The same prompts, number of pairs and loss as SynPO; only the source of the answers differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from selfboost.methods.parts.pairing import ranked_pairs
from selfboost.methods.parts.synthetic_preferences import SyntheticPreferences
from selfboost.records import Model, Pair, Prompt
from selfboost.verbs import Verbs


@dataclass(frozen=True, kw_only=True)
class SamplingRanking(SyntheticPreferences):
    """The best of n own answers over the worst, by a scorer: rejection sampling without an improver."""

    def iterate(self, run: Verbs) -> Model:
        """Sample, rank, prefer."""
        return self.optimise(run, self.gather(run, lambda prompts: self._candidates(run, prompts)))

    def _candidates(self, run: Verbs, prompts: Sequence[Prompt]) -> list[Pair]:
        answers = run.sample("answers", run.previous, prompts, replace(self.sampling, samples=self.samples))
        return ranked_pairs(run, prompts, answers, run.score("answer-scores", answers))
