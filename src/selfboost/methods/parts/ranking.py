"""Pairs of the best and the worst of a policy's own answers to new prompts, with any scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from selfboost.methods.parts.pairing import ranked_pairs
from selfboost.methods.parts.synthetic_preferences import SyntheticPreferences
from selfboost.records import Answer, Model, Pair, Prompt, Verdict
from selfboost.verbs import Verbs


@dataclass(frozen=True, kw_only=True)
class Ranking(SyntheticPreferences):
    """Settings of Sampling-Ranking and of Self-Rewarding."""

    samples: Annotated[int, Field(ge=2, le=1000)] = 5
    """Own answers per prompt; the best is preferred to the worst."""

    def ranked(
        self,
        run: Verbs,
        prompts: Sequence[Prompt],
        score: Callable[[Sequence[Answer]], Sequence[Verdict]],
        policy: Model | None = None,
    ) -> Sequence[Pair]:
        """Sample each prompt (by the previous policy, unless another is given), score, and pair best with worst."""
        answers = run.sample("answers", policy or run.previous, prompts, replace(self.sampling, samples=self.samples))
        return ranked_pairs(run, prompts, answers, score(answers))
