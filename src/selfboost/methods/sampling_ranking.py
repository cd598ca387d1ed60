"""Sampling-Ranking: the best against the worst of n own answers, by a scorer (SynPO's baseline, arXiv 2410.06961, 3.1).

The same prompts, number of pairs and loss as SynPO; only the source of the answers differs.
"""

from __future__ import annotations

from dataclasses import dataclass

from selfboost.methods.parts.ranking import Ranking
from selfboost.records import Model
from selfboost.verbs import Verbs


@dataclass(frozen=True, kw_only=True)
class SamplingRanking(Ranking):
    """The best of n own answers over the worst, by a scorer: rejection sampling without an improver."""

    def iterate(self, run: Verbs) -> Model:
        """Sample, rank, prefer."""
        pairs = self.gather(
            run, lambda prompts: self.ranked(run, prompts, lambda answers: run.score("answer-scores", answers))
        )
        return self.optimise(run, pairs)
