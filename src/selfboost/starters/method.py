"""Starter: the best of a few own answers over the worst, by the recipe's scorer.

`iterate` is one iteration, in the run's verbs: `sample`, `score`, `finetune`, `prefer`, `measure`. Each call is a stage
of the run's folder: stored under its name, and never computed twice. docs/guides/method.md says more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from selfboost import Answer, Method, Model, Pair, Sampling, Verbs, Verdict


@dataclass(frozen=True, kw_only=True)
class Starter(Method):
    """The best of a few own answers over the worst."""

    samples: Annotated[int, Field(ge=2, le=1000)] = 4
    """Answers to each prompt: the best and the worst of them make a pair."""

    def iterate(self, run: Verbs) -> Model:
        """Sample, score, prefer."""
        prompts = [seed.prompt for seed in run.seeds]
        answers = run.sample("answers", run.previous, prompts, Sampling(samples=self.samples, max_tokens=256))
        verdicts = run.score("scores", answers)
        pairs: list[Pair] = []
        for start in range(0, len(answers), self.samples):  # the answers to one prompt stand side by side
            group = slice(start, start + self.samples)
            pairs += self._best_over_worst(run, answers[group], verdicts[group])
        return run.prefer("policy", pairs, start=run.previous)  # the reference is `start` unless another is named

    def _best_over_worst(self, run: Verbs, answers: Sequence[Answer], verdicts: Sequence[Verdict]) -> list[Pair]:
        """One pair, or none where no answer is better than another."""
        scored = [(verdict.value, i) for i, verdict in enumerate(verdicts) if verdict.value is not None]
        if len({value for value, _ in scored}) < 2:
            return []
        (_, worst), (_, best) = min(scored), max(scored)
        both = (verdicts[best], verdicts[worst])
        return [run.pair(answers[best].prompt, answers[best], answers[worst], both)]
