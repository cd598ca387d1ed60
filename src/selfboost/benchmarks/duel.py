"""A duel on the run's prompts: a judge says whose answer is better, the policy's or a stated opponent's.

Win, tie and loss, as in DNPO's evaluation (which has a language model judge pairs of generations), and the mean score
of the generations where the judge scores single answers. A model against itself ties by definition: nothing is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Self

from pydantic import Field

from selfboost.benchmark import GOLD
from selfboost.benchmarks.parts.outcomes import Outcomes
from selfboost.measures import SHARE, Declared, Measure
from selfboost.method import Rehearsal
from selfboost.notes import Note
from selfboost.records import SAMPLING_LIMITS, Answer, Example, Model, Rated, Sampling, Verdict
from selfboost.scorers import Scorer, pairwise, unit_of
from selfboost.setting_types import LARGEST_SCORE, PathOrName, Tokens
from selfboost.statistics.sequential import SequentialTest, State
from selfboost.verbs import Verbs

Won = float | None
"""1 for a win, 0.5 for a tie, 0 for a loss; None without a verdict."""


LOOK = 32
"""Prompts that are judged between two looks at the evidence."""
UNASKED = "not asked: the winner was clear"


@dataclass(frozen=True, kw_only=True)
class EarlyStop(Note):
    """How far a judge was asked, and what the betting test found."""

    asked: int
    prompts: int
    policy: State
    """`better` or `worse` than the opponent at this level; `open` if all prompts were judged without a winner."""
    level: float
    """Largest probability of a winner where there is none."""


@dataclass(frozen=True, kw_only=True)
class Duel:
    """Win, tie and loss against a stated opponent, by any scorer or judge, of pairs or of single answers."""

    scorer: Scorer
    """Who judges: pairs side by side (pairrm, api_judge), or single answers, whose scores are compared."""
    opponent: PathOrName = "initial"
    """`initial`, `previous`, `seed_sft`, `gold` (the answers of the data), or a model's folder or hub name."""
    margin: Annotated[float, Field(ge=0, le=LARGEST_SCORE)] = 0.0
    """Difference of the two values up to which it is a tie."""
    samples: Annotated[int, Field(ge=1, le=100)] = 1
    """Answers of each side per prompt; the i-th meets the opponent's i-th."""
    temperature: Annotated[float, Field(ge=0, le=SAMPLING_LIMITS["temperature"][1])] = 0.7
    """Temperature of both sides' answers; 0 is greedy."""
    max_tokens: Tokens = 2048
    """Longest answer, in tokens."""
    stop_early: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Ask the judge no further once a betting test at this level has found a winner, such as 0.05; 0 = judge all.

    Decisions of a gate (on the validation prompts) always rest on all prompts.
    """

    def __post_init__(self) -> None:
        if self.samples > 1 and not self.temperature:
            raise ValueError(
                f"samples = {self.samples}: at temperature 0 all answers are the same; allowed: 1, or a temperature "
                "above 0"
            )

    @property
    def measures(self) -> Declared:
        """The win rate counts a tie as half; scores are those of the policy's answers."""
        against = f"against {self.opponent}"
        found = {
            "duel": Measure(title=f"win rate {against}", unit=SHARE),
            "won": Measure(title=f"wins {against}", unit=SHARE),
            "tied": Measure(title=f"ties {against}", unit=SHARE, better="neither"),
            "lost": Measure(title=f"losses {against}", unit=SHARE, better="lower"),
        }
        if not pairwise(self.scorer):
            found["score"] = Measure(title="score of the answers", unit=unit_of(self.scorer))
        return {**found, "length": Measure(title="length of answers", unit="tokens", better="neither")}

    def rate(self, run: Verbs, model: Model, examples: Sequence[Example], split: str) -> Sequence[Rated]:
        """Sample both sides, judge them, and collect the games of each prompt.

        Raises:
            ValueError: the opponent is `gold`, and a prompt has no answer.
        """
        own = run.sample(f"{split}-duel", model, [example.prompt for example in examples], self._sampling)
        opponent = None if self.opponent == GOLD else run.model(self.opponent)
        itself = opponent is not None and opponent.fingerprint == model.fingerprint
        verdicts: Sequence[Verdict] = []
        if itself:
            won: list[Won] = [0.5] * len(own)
            if not pairwise(self.scorer):
                verdicts = run.score(f"{split}-duel-scores", own, self.scorer)
        else:
            others = self._other_side(run, opponent, examples, split)
            judged = self._judged if split == "validation" or not self.stop_early else self._judged_until_clear
            verdicts = judged(run, own, others, split)
            won = self._won(verdicts)
            asked = [game for game, verdict in zip(won, verdicts[::2], strict=True) if verdict.reason != UNASKED]
            verdicts, judge = verdicts[::2], verdicts[0].scorer if verdicts else ""
            run.note(Outcomes.of(asked, judge=judge, opponent=self.opponent))
        return [self._rated(example, split, i, own, won, verdicts) for i, example in enumerate(examples)]

    @property
    def _sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, max_tokens=self.max_tokens, samples=self.samples)

    def _other_side(
        self, run: Verbs, opponent: Model | None, examples: Sequence[Example], split: str
    ) -> Sequence[Answer]:
        """The opponent's answers; those of a model that stays the same are sampled once for all iterations."""
        if opponent is None:
            if empty := next((e.prompt.text for e in examples if not e.answer.text.strip()), None):
                raise ValueError(f"benchmark.opponent = 'gold': the data have no answer to the prompt {empty[:60]!r}")
            return [example.answer for example in examples for _ in range(self.samples)]
        lasting = self.opponent != "previous" and split != "all"
        name = f"prepare/duel-{split}" if lasting else f"{split}-duel-opponent"
        return run.sample(name, opponent, [example.prompt for example in examples], self._sampling)

    def _judged(self, run: Verbs, own: Sequence[Answer], others: Sequence[Answer], split: str) -> list[Verdict]:
        """The verdicts on own and other answer in turns. Each round of samples is a stage: a judge of pairs compares
        all answers to a prompt that lie side by side."""
        found: list[Sequence[Verdict]] = []
        for at in range(self.samples):
            sides = zip(own[at :: self.samples], others[at :: self.samples], strict=True)
            name = f"{split}-duel-scores" + (f"-{at + 1}" if self.samples > 1 else "")
            found.append(run.score(name, [answer for pair in sides for answer in pair], self.scorer))
        prompts = len(own) // self.samples
        return [v for i in range(prompts) for verdicts in found for v in verdicts[2 * i : 2 * i + 2]]

    def _judged_until_clear(
        self, run: Verbs, own: Sequence[Answer], others: Sequence[Answer], split: str
    ) -> list[Verdict]:
        """The verdicts on prompts in random order, `LOOK` at a time, until the winner is clear; then none.

        A betting test holds its level however often one looks (Waudby-Smith & Ramdas 2024, arXiv 2010.09686).
        """
        prompts = sorted(range(len(own) // self.samples), key=lambda i: own[i * self.samples].prompt.id)
        unasked = [Verdict(answer=a.id, scorer="", value=None, reason=UNASKED) for a in own for _ in range(2)]
        found, test, asked = unasked, SequentialTest(alpha=self.stop_early), 0
        while asked < len(prompts) and test.verdict == "open":
            some = prompts[asked : asked + LOOK]
            places = [i * self.samples + at for i in some for at in range(self.samples)]
            part = f"{split}-part-{asked // LOOK + 1}"
            verdicts = self._judged(run, [own[i] for i in places], [others[i] for i in places], part)
            for at, place in enumerate(places):
                found[2 * place : 2 * place + 2] = verdicts[2 * at : 2 * at + 2]
            test.add(_gains(self._won(verdicts), self.samples))
            asked += len(some)
        run.note(EarlyStop(asked=asked, prompts=len(prompts), policy=test.verdict, level=self.stop_early))
        return found

    def _won(self, verdicts: Sequence[Verdict]) -> list[Won]:
        return [_outcome(a, b, self.margin) for a, b in zip(verdicts[::2], verdicts[1::2], strict=True)]

    def for_rehearsal(self, rehearsal: Rehearsal) -> Self:
        """With every prompt judged: a plan gives the most that it can cost."""
        del rehearsal
        return replace(self, stop_early=0.0)

    def _rated(
        self,
        example: Example,
        split: str,
        at: int,
        own: Sequence[Answer],
        won: Sequence[Won],
        verdicts: Sequence[Verdict],
    ) -> Rated:
        part = slice(at * self.samples, (at + 1) * self.samples)
        games = won[part]
        values: dict[str, tuple[float | None, ...]] = {
            "duel": tuple(games),
            **{
                name: tuple(None if game is None else float(game == wanted) for game in games)
                for name, wanted in (("won", 1), ("tied", 0.5), ("lost", 0))
            },
        }
        if not pairwise(self.scorer):
            values["score"] = tuple(verdict.value for verdict in verdicts[part])
        values["length"] = tuple(None if a.finish == "failed" else float(len(a.token_ids)) for a in own[part])
        return Rated(prompt=example.prompt.id, split=split, values=values)


def _outcome(own: Verdict, other: Verdict, margin: float) -> Won:
    if own.value is None or other.value is None:
        return None
    gap = own.value - other.value
    return 0.5 if abs(gap) <= margin else float(gap > 0)


def _gains(won: Sequence[Won], samples: int) -> list[float]:
    """For each prompt with a verdict, 1 if every game was won, -1 if every one was lost."""
    games = [[game for game in won[i : i + samples] if game is not None] for i in range(0, len(won), samples)]
    return [2 * sum(each) / len(each) - 1 for each in games if each]
