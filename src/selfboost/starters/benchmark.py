"""Starter: one greedy answer to each prompt, judged by a scorer, and its length in words.

A benchmark rates a model with the run's own verbs, so that its stages are stored and resumed like all others. It is
given the validation prompts (for choices) or the held-out ones (for the report). docs/guides/benchmark.md says more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfboost import Example, Measure, Model, Rated, Sampling, Scorer, Verbs, unit_of
from selfboost.setting_types import Tokens


@dataclass(frozen=True, kw_only=True)
class Starter:
    """Score and length of greedy answers."""

    scorer: Scorer
    """What judges the answers: another one than that which chose the pairs."""
    max_tokens: Tokens = 256
    """Longest answer."""

    @property
    def measures(self) -> Mapping[str, Measure]:
        """What `rate` gives: a title in plain words, the unit, and which way is better."""
        return {
            "score": Measure(title="score of greedy answers", unit=unit_of(self.scorer)),
            "words": Measure(title="length of greedy answers", unit="words", better="neither"),
        }

    def rate(self, run: Verbs, model: Model, examples: Sequence[Example], split: str) -> Sequence[Rated]:
        """One record for each prompt: measure → a value for each of its samples, None where there is none."""
        prompts = [example.prompt for example in examples]
        greedy = Sampling(temperature=0.0, max_tokens=self.max_tokens)
        answers = run.sample(f"{split}-answers", model, prompts, greedy)  # the stage's name holds the split
        verdicts = run.score(f"{split}-scores", answers, self.scorer)
        return [
            Rated(
                prompt=answer.prompt.id,
                split=split,
                values={"score": (verdict.value,), "words": (float(len(answer.text.split())),)},
            )
            for answer, verdict in zip(answers, verdicts, strict=True)
        ]
