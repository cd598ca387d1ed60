"""Self-Rewarding (arXiv 2401.10020): the policy judges its own answers; the best is preferred to the worst.

As SynPO's baseline (arXiv 2410.06961, 3.1): the same prompts, number of pairs, loss and start as SynPO; the original
starts from the current model (`start = "previous"`, `window = "last"`). Left out: fine-tuning the judge on ratings.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

from selfboost.disk.sequences import Mapped, Selected, sorted_out
from selfboost.method import Rehearsal
from selfboost.methods.parts.pairing import answer_fault
from selfboost.methods.parts.ranking import Ranking
from selfboost.notes import Counts
from selfboost.records import Answer, Model, Origin, Prompt, Sampling, Verdict, user_prompt
from selfboost.scorers.likelihood import Likelihood
from selfboost.setting_types import NotNegative, Pattern, Several, Text
from selfboost.templates import check_pattern, check_template, groups_found
from selfboost.verbs import Verbs

JUDGE = """Judge how well the response answers the user's question, with 0 to {highest} points. Give a point for each \
of these that holds: it is about the question; it covers much of it; it answers what matters; it is clear, \
complete and written for the user; an expert could not do it better.

Question: {prompt}

Response: {answer}

First give your reasons in a few words, then write as the last line:
Score: the number of points"""
SCORE = r"Score:\s*(\d+(?:\.\d+)?)"


@dataclass(frozen=True, kw_only=True)
class Judgements(Counts, decided_by="method.template or method.score"):
    """How many replies gave points."""

    things: ClassVar[str] = "judgements"
    total: ClassVar[str] = "replies"
    cures: ClassVar[Mapping[str, str]] = {
        "without points": "the model does not answer as method.template asks: change it or method.score, or rank by "
        'method.judge = "likelihood"'
    }


@dataclass(frozen=True, kw_only=True)
class SelfRewarding(Ranking):
    """The policy judges itself: its best answer by its own score is preferred to its worst."""

    judge: Literal["prompt", "likelihood", "scorer"] = "prompt"
    """Ask for points; or, for models that cannot judge when asked, take the mean log-probability of the answer; or let
    the recipe's scorer judge in the policy's place."""
    template: Text = JUDGE
    """The request for a judgement, with the fields {prompt}, {answer} and {highest}."""
    score: Pattern = SCORE
    """Regular expression whose first group is the points; the last match in the reply counts."""
    highest: Several = 5
    """Highest valid points; higher numbers are rejected."""
    judging: Sampling = field(default_factory=lambda: Sampling(max_tokens=512, samples=3))
    """How judgements are sampled; an answer's score is the mean of its judgements."""
    least_gap: NotNegative = 1e-6
    """Smallest gap between best and worst, unless the filter has a threshold; by default anything but ties."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_template("template", self.template, {"prompt", "answer", "highest"})
        check_pattern("score", self.score, "the points")

    def for_rehearsal(self, rehearsal: Rehearsal) -> Self:
        """Any number in a reply counts as its points, different for each answer."""
        del rehearsal
        return replace(self, score=r"(\d+)", highest=sys.maxsize)

    @property
    def scored(self) -> bool:
        """Where the recipe's scorer is asked in place of the policy."""
        return self.judge == "scorer"

    def iterate(self, run: Verbs) -> Model:
        """Sample, judge, prefer."""
        pairs = self.gather(
            run, lambda prompts: self.ranked(run, prompts, lambda answers: self.scores(run, answers)), self.least_gap
        )
        return self.optimise(run, pairs)

    def scores(self, run: Verbs, answers: Sequence[Answer], whose: str = "") -> Sequence[Verdict]:
        """The previous policy's verdict on each answer; `whose` sets stages apart where there are several."""
        if self.judge == "likelihood":
            return run.score(f"{whose}self-scores", answers, Likelihood(policy="previous", over="mean"))
        if self.judge == "scorer":
            return run.score(f"{whose}answer-scores", answers)
        return self._judged(run, answers, f"{whose}judgements")

    def _judged(self, run: Verbs, answers: Sequence[Answer], name: str) -> Sequence[Verdict]:
        """Mean points of each answer; a reply without points is counted, never guessed."""
        judgeable, _ = sorted_out(map(answer_fault, answers))
        requests = Mapped(self._request, Selected(answers, judgeable))
        replies = run.sample(name, run.previous, requests, self.judging)
        points = [self._points(reply) for reply in replies]
        n = self.judging.samples
        known = [[p for p in points[i * n : (i + 1) * n] if p is not None] for i in range(len(judgeable))]
        means = {place: sum(own) / len(own) for place, own in zip(judgeable, known, strict=True) if own}
        run.count(Judgements, {"replies": len(points), "without points": points.count(None)})
        judge, why = f"self_rewarding({run.previous.name})", "no judgement could be read"

        def verdict(answer: Answer, place: int) -> Verdict:
            reason = "" if place in means else why
            return Verdict(answer=answer.id, scorer=judge, value=means.get(place), reason=reason)

        return Mapped(verdict, answers, range(len(answers)))

    def _request(self, answer: Answer) -> Prompt:
        origin = Origin(source="judgement", iteration=answer.prompt.origin.iteration, parent=answer.id)
        text = self.template.format(prompt=answer.prompt.conversation, answer=answer.text, highest=self.highest)
        return user_prompt(text, origin)

    def _points(self, reply: Answer) -> float | None:
        found = groups_found("method.score", self.score, reply.text)
        try:
            points = float(found[-1]) if found else None
        except ValueError:
            return None
        return points if points is not None and 0 <= points <= self.highest else None
