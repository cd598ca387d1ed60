"""The samples that a trial shows: a prompt, every answer to it, and what became of the pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from selfboost.methods.parts.pairing import answer_fault
from selfboost.records import Answer, Pair, Prompt
from selfboost.trial import Trial, TriedStage, faults_of

SHOWN = 3
"""Samples of a trial."""
ANSWERS = 2
"""Answers of one stage that a sample shows."""
GOLD = "gold"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a sample."""

    name: str
    """The stage that wrote it, or what it is."""
    text: str
    fault: str = ""
    """What is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Story:
    """One prompt's way through the stages."""

    prompt: Prompt
    answers: Sequence[tuple[str, Answer]]
    """Stage → answer to the prompt, or to a request made from such an answer."""
    pair: Pair | None
    outcome: str
    """What became of the pair, or why there is none."""

    def lines(self) -> Iterator[Line]:
        """The sample, line by line."""
        if keywords := self.prompt.origin.keywords:
            yield Line(name="keywords", text=", ".join(keywords))
        yield Line(name="prompt", text=self.prompt.dialogue)
        if self.pair and (gold := next((s for s in _sides(self.pair) if s.model == "given"), None)):
            yield Line(name=GOLD, text=gold.text)
        for name, answer in self.answers:
            yield Line(name=name, text=answer.text, fault=", ".join(faults_of(answer)))
        if self.pair and self.pair.chosen_score is not None and self.pair.rejected_score is not None:
            gap = f"chosen {self.pair.chosen_score:+.3g}, rejected {self.pair.rejected_score:+.3g}"
            yield Line(name="scores", text=f"{gap}, gap {self.pair.gap:+.3g}")
        yield Line(name="pair", text=self.outcome)


def stories(trial: Trial) -> list[Story]:
    """A kept pair and those dropped for different reasons first, then prompts without a pair, one of each stage."""
    found: dict[str, Story] = {}
    for pair in trial.seen.candidates.values():
        found.setdefault(_outcome(trial, pair), _story(trial, pair.prompt, pair))
    kept = [story for story in found.values() if story.pair and story.pair.id in trial.seen.trained]
    chosen = [*kept, *(story for story in found.values() if story not in kept)]
    if len(chosen) < SHOWN:
        shown = {answer.id for story in chosen for _, answer in story.answers}
        paired = {pair.prompt.id for pair in trial.seen.candidates.values()}
        used = {pair.prompt.origin.parent for pair in trial.seen.candidates.values()}
        sampled = [stage for stage in trial.stages or () if stage.answers] or list(trial.measuring)
        for stage in _worst_first(sampled):
            free = [a for a in stage.answers if a.id not in shown | used and a.prompt.id not in paired]
            answer = next((a for a in free if any(faults_of(a))), next(iter(free), None))
            if answer is not None:
                chosen.append(_story(trial, answer.prompt, None, answer))
    return chosen[:SHOWN]


def _worst_first(stages: Sequence[TriedStage]) -> list[TriedStage]:
    return sorted(stages, key=lambda stage: -sum(stage.faults.values()))


def _story(trial: Trial, prompt: Prompt, pair: Pair | None, first: Answer | None = None) -> Story:
    """The answers to a prompt and to requests made from them, at most a few of each stage, sides of the pair first."""
    sides = {side.id for side in _sides(pair)} if pair else {first.id} if first else set[str]()
    known = {first.id} if first else set[str]()
    answers: list[tuple[str, Answer]] = []
    stages = trial.stages if any(stage.answers for stage in trial.stages) else trial.measuring
    for stage in stages:
        own = [a for a in stage.answers if a.prompt.asks_the_same(prompt) or a.prompt.origin.parent in known]
        own.sort(key=lambda a: a.id not in sides and _written(a, pair) is False)
        known |= {answer.id for answer in own}
        answers += [(short(stage.card.name), answer) for answer in own[:ANSWERS]]
    return Story(prompt=prompt, answers=answers, pair=pair, outcome=_outcome(trial, pair, answers))


def _written(answer: Answer, pair: Pair | None) -> bool:
    """Whether an answer's words are a side of the pair."""
    return pair is not None and any(answer.token_ids == side.token_ids for side in _sides(pair))


def _outcome(trial: Trial, pair: Pair | None, answers: Sequence[tuple[str, Answer]] = ()) -> str:
    if pair is None:
        fault = next((found for _, answer in answers if (found := answer_fault(answer))), "")
        return f"none: {fault}" if fault else "none was made of it"
    if reason := trial.seen.dropped.get(pair.id):
        return f"dropped: {reason}"
    if pair.id in trial.seen.trained:
        return "kept"
    return "dropped by the method" if trial.seen.trained else "not trained on"


def _sides(pair: Pair) -> tuple[Answer, Answer]:
    return pair.chosen, pair.rejected


def short(name: str) -> str:
    """A stage's name without the iteration, which is the only one."""
    return name.removeprefix("iteration-1/")
