"""AlpacaEval 2's weighted judge: which of two outputs is better, from the log-probabilities of the labels m and M.

As published, each instruction is judged in one order, drawn by a seed and the instruction; both orders are an option.
The draws are not those of the published program, which hashes otherwise. Where the server gives no log-probabilities,
the label in the reply counts. Source: the repository tatsu-lab/alpaca_eval (weighted_alpaca_eval_gpt4_turbo).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import ClassVar, Literal

from selfboost.benchmarks.parts.form_judge import VERDICT_TOKENS, FormJudge
from selfboost.benchmarks.parts.forms import filled
from selfboost.endpoints import Question, Reply
from selfboost.records import Answer, Model, Verdict, content_hash
from selfboost.scorers import ScoringWork, Workplace
from selfboost.scorers.blocks import blocks
from selfboost.scorers.replies import LEAST_MASS, Reading, quoted
from selfboost.scorers.verdicts import fault
from selfboost.train import Trainer

FIRST, SECOND = "m", "M"
"""Labels of the output shown first and of the other."""
LABEL = re.compile(r"(?:\A|[^\w'])([mM])(?=\Z|[^\w'])")
TOP = 5
"""Log-probabilities asked for, as published."""
Orders = Literal["one", "both"]
Sides = tuple[Answer, Answer]
"""The baseline's answer, and the model's."""


@dataclass(frozen=True, kw_only=True)
class AlpacaJudge(FormJudge):
    """Judges answers in pairs, baseline and model in turns: their values are the chances that each is better."""

    kind: ClassVar[str] = "alpaca_eval"
    fields: ClassVar[frozenset[str]] = frozenset({"instruction", "output_1", "output_2"})
    again: ClassVar[str] = "Reply with one identifier, m or M, and nothing else."
    pairwise: ClassVar[bool] = True

    orders: Orders = "one"
    """How often each pair is judged."""
    seed: int = 0
    """Draws the order."""

    def work(self, prompt: float, answer: float) -> ScoringWork:
        """Half of a request per answer for each order."""
        return self.work_of_requests(0.5 if self.orders == "one" else 1.0, prompt + 2 * answer)

    def score_at(
        self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer, workplace: Workplace
    ) -> Iterator[Verdict]:
        """The chance that each answer of a pair is the better one, over the orders in which it was judged."""
        del models, trainer
        for block in blocks(answers, answers, whole_prompts=True):
            pairs = [_pair(list(group)) for _, group in groupby(block, key=lambda answer: answer.prompt.id)]
            for (baseline, model), found in zip(pairs, self._chances(pairs, workplace), strict=True):
                yield self.verdict(baseline, found if isinstance(found, str) else 1 - found)
                yield self.verdict(model, found)

    def _chances(self, pairs: Sequence[Sides], workplace: Workplace) -> list[Reading]:
        """The chance that the model's answer is better, of each pair."""
        faults = [fault(model) or fault(baseline) for baseline, model in pairs]
        games = [
            (at, swapped)
            for at, pair in enumerate(pairs)
            if not faults[at]
            for swapped in self._orders_of(pair[0].prompt.conversation)
        ]
        questions = [self._question(*reversed(pairs[at]) if swapped else pairs[at]) for at, swapped in games]
        found: dict[int, list[Reading]] = {}
        for (at, swapped), reading in zip(games, self.readings(questions, _chance_of_first, workplace), strict=True):
            found.setdefault(at, []).append(reading if isinstance(reading, str) or swapped else 1 - reading)
        return [why or _mean(found[at]) for at, why in enumerate(faults)]

    def _orders_of(self, instruction: str) -> tuple[bool, ...]:
        """Whether the model's answer is shown first, in each of the orders."""
        if self.orders == "both":
            return (False, True)
        return (int(content_hash([self.seed, instruction])[:8], 16) % 2 == 1,)

    def _question(self, first: Answer, second: Answer) -> Question:
        values = {
            "instruction": first.prompt.conversation,
            "output_1": first.prompt.prefix + first.text,
            "output_2": second.prompt.prefix + second.text,
        }
        return Question(
            messages=filled(self.form, values),
            max_tokens=self.reasoned + VERDICT_TOKENS,
            temperature=self.judging.temperature,
            labels=() if self.reasoned else (FIRST, SECOND),
            top_logprobs=TOP,
        )


def _pair(group: Sequence[Answer]) -> Sides:
    assert len(group) == 2, "answers come in pairs, the baseline's first"
    return group[0], group[1]


def _chance_of_first(reply: Reply) -> Reading:
    """The chance that the output shown first is better."""
    if reply.label_logprobs:
        chances = {label: math.exp(logp) for label, logp in reply.label_logprobs.items()}
        mass = sum(chances.values())
        if mass < LEAST_MASS:
            return f"the judge gave its labels a probability of {mass:.2f}, less than {LEAST_MASS}"
        return chances.get(FIRST, 0.0) / mass
    found = LABEL.findall(reply.text)
    return float(found[-1] == FIRST) if found else f"the judge gave no verdict: {quoted(reply.text)}"


def _mean(readings: Sequence[Reading]) -> Reading:
    """The mean over the orders; without one of them, there is none."""
    known = [reading for reading in readings if not isinstance(reading, str)]
    return fmean(known) if len(known) == len(readings) else next(r for r in readings if isinstance(r, str))
