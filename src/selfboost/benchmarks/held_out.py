"""Answers to prompts that the model was never trained on, judged by a scorer: greedy, and several samples each.

A benchmark's scorer should differ from the one that chose the training pairs. Comparison with an opponent is duel's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from selfboost.measures import SHARE, Declared, Measure
from selfboost.records import Answer, Example, Model, Rated, Sampling
from selfboost.scorers import Scorer, pairwise, unit_of
from selfboost.setting_types import Tokens, Warmth
from selfboost.verbs import Verbs


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Score on held-out prompts, greedy and sampled; length in tokens; share of answers that ended by themselves."""

    scorer: Scorer
    """What judges the answers."""
    greedy: bool = True
    """Also measure one greedy answer per prompt."""
    samples: Annotated[int, Field(ge=1, le=1000)] = 4
    """Sampled answers per prompt."""
    temperature: Warmth = 0.7
    """Temperature of the samples."""
    max_tokens: Tokens = 2048
    """Longest answer, in tokens."""

    def __post_init__(self) -> None:
        if pairwise(self.scorer):
            name = type(self.scorer).__name__
            raise ValueError(
                f"scorer = {name}: compares answers with each other, so it cannot rate one model; use a scorer of "
                "single answers, such as reward_model or checks, or benchmark.kind = 'duel', which compares it with an "
                "opponent"
            )

    @property
    def measures(self) -> Declared:
        """Scores in the scorer's unit; longer answers are neither better nor worse."""
        unit = unit_of(self.scorer)
        greedy = {"greedy": Measure(title="score of greedy answers", unit=unit)} if self.greedy else {}
        return {
            **greedy,
            "sampled": Measure(title="score of sampled answers", unit=unit),
            "length": Measure(title="length of answers", unit="tokens", better="neither"),
            "ended": Measure(title="answers that ended by themselves", unit=SHARE),
        }

    def rate(self, run: Verbs, model: Model, examples: Sequence[Example], split: str) -> Sequence[Rated]:
        """Sample and score, and collect the values of each prompt."""
        sampling = Sampling(temperature=self.temperature, max_tokens=self.max_tokens, samples=self.samples)
        answers = self._answers(run, model, examples, f"{split}-sampled", sampling)
        values = {
            "sampled": self._scores(run, answers, f"{split}-sampled-scores"),
            "length": [_unless_failed(answer, len(answer.token_ids)) for answer in answers],
            "ended": [_unless_failed(answer, answer.finish == "stop") for answer in answers],
        }
        if self.greedy:
            once = Sampling(temperature=0.0, max_tokens=self.max_tokens)
            best = self._answers(run, model, examples, f"{split}-greedy", once)
            values = {"greedy": self._scores(run, best, f"{split}-greedy-scores"), **values}
        return [
            Rated(
                prompt=example.prompt.id,
                split=split,
                values={name: _part(column, i, len(examples)) for name, column in values.items()},
            )
            for i, example in enumerate(examples)
        ]

    @staticmethod
    def _answers(
        run: Verbs, model: Model, examples: Sequence[Example], name: str, sampling: Sampling
    ) -> Sequence[Answer]:
        return run.sample(name, model, [example.prompt for example in examples], sampling)

    def _scores(self, run: Verbs, answers: Sequence[Answer], name: str) -> list[float | None]:
        return [verdict.value for verdict in run.score(name, answers, self.scorer)]


def _unless_failed(answer: Answer, value: float) -> float | None:
    return None if answer.finish == "failed" else float(value)


def _part(column: Sequence[float | None], i: int, prompts: int) -> tuple[float | None, ...]:
    each, left = divmod(len(column), prompts)
    assert not left, "every prompt has equally many samples, adjacent"
    return tuple(column[i * each : (i + 1) * each])
