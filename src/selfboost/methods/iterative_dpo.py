"""Iterative DPO: the best against the worst of n own answers to the seed's prompts, from the newest policy.

As in RLHF Workflow (arXiv 2405.07863) and its public code (`RLHFlow/Online-RLHF`): answers at temperature 1, best over
worst by a reward model, DPO whose start and reference are both the newest policy, pairs of this iteration alone.
Left out: the code's fresh prompts for each iteration (`seed.limit` and the order of the seed are the user's), and the
paper's other ways to explore.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from selfboost.method import ModelName
from selfboost.methods.parts.ranking import Ranking
from selfboost.records import Model, Sampling
from selfboost.verbs import Verbs, Window


@dataclass(frozen=True, kw_only=True)
class IterativeDPO(Ranking):
    """The newest policy's best answer to each seed prompt over its worst, by a scorer, iteration by iteration."""

    prompts_from: Literal["generator", "seed"] = "seed"
    """Answer the seed's prompts, or write new ones."""
    start: ModelName = "previous"
    """The model that the policy is trained from."""
    reference: ModelName = "previous"
    """The reference model of the loss."""
    window: Window = "last"
    """The iterations whose pairs are trained on."""
    samples: Annotated[int, Field(ge=2, le=1000)] = 4
    """Own answers per prompt; the best is preferred to the worst."""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=1.0))
    """How own answers are sampled."""

    @classmethod
    def suggested(cls) -> Mapping[str, Mapping[str, Any]]:
        """DPO with the public code's label smoothing and training."""
        return {
            "loss": {"kind": "dpo", "label_smoothing": 0.1},
            "training": {"learning_rate": 5e-7, "batch_size": 128, "epochs": 2, "schedule": "cosine"},
        }

    def iterate(self, run: Verbs) -> Model:
        """Sample, rank, prefer."""
        pairs = self.gather(
            run, lambda prompts: self.ranked(run, prompts, lambda answers: run.score("answer-scores", answers))
        )
        return self.optimise(run, pairs)
