"""Arena-Hard's judge: two games per prompt, with the answers in both orders, and five verdicts from A>>B to B>>A."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from selfboost.benchmarks.parts.arena_hard import Outcome, parse
from selfboost.benchmarks.parts.form_judge import VERDICT_TOKENS, FormJudge
from selfboost.benchmarks.parts.forms import filled
from selfboost.endpoints import Question, Reply
from selfboost.records import Answer, Model, Verdict
from selfboost.scorers import ScoringWork, Workplace
from selfboost.scorers.blocks import blocks
from selfboost.scorers.replies import Reading, quoted
from selfboost.scorers.verdicts import fault
from selfboost.train import Trainer

LEVELS: Mapping[Outcome, float] = {"A>>B": 1.0, "A>B": 0.75, "A=B": 0.5, "B>A": 0.25, "B>>A": 0.0}
"""Verdict → value of the answer that was shown first."""
OUTCOMES: Mapping[float, Outcome] = {value: outcome for outcome, value in LEVELS.items()}


@dataclass(frozen=True, kw_only=True)
class ArenaJudge(FormJudge):
    """Judges answers in pairs, baseline and model in turns: each gets the verdict of the game in which it is A."""

    kind: ClassVar[str] = "arena_hard"
    fields: ClassVar[frozenset[str]] = frozenset({"prompt", "answer_a", "answer_b"})
    again: ClassVar[str] = (
        "Reply with one verdict in double brackets, [[A>>B]], [[A>B]], [[A=B]], [[B>A]] or [[B>>A]], and nothing else."
    )
    reason_tokens: ClassVar[int] = 4096
    pairwise: ClassVar[bool] = True

    def work(self, prompt: float, answer: float) -> ScoringWork:
        """A request per answer, which holds the other one too."""
        return self.work_of_requests(1.0, prompt + 2 * answer)

    def score_at(
        self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer, workplace: Workplace
    ) -> Iterator[Verdict]:
        """The level of the verdict in the game in which each answer is shown first."""
        del models, trainer
        for block in blocks(answers, answers, whole_prompts=True):
            games: list[tuple[Answer, Answer]] = []
            for _, group in groupby(block, key=lambda answer: answer.prompt.id):
                baseline, model = group
                games += [(baseline, model), (model, baseline)]
            asked = [fault(first) or fault(second) or self._question(first, second) for first, second in games]
            for (first, _), found in zip(games, self.judged(asked, _level, workplace), strict=True):
                yield self.verdict(first, found)

    def _question(self, first: Answer, second: Answer) -> Question:
        values = {
            "prompt": first.prompt.conversation,
            "answer_a": first.prompt.prefix + first.text,
            "answer_b": second.prompt.prefix + second.text,
        }
        return Question(
            messages=filled(self.form, values),
            max_tokens=self.reasoned + VERDICT_TOKENS,
            temperature=self.judging.temperature,
        )


def _level(reply: Reply) -> Reading:
    outcome = parse(reply.text)
    return f"the judge gave no verdict: {quoted(reply.text)}" if outcome is None else LEVELS[outcome]
