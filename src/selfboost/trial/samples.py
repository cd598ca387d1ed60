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
GOLD, KEPT = "gold", "kept"


@dataclass(frozen=True, kw_only=True)
class SampleLine:
    """A line of a sample."""

    name: str
    """The stage that wrote it, or what it is."""
    text: str
    fault: str = ""
    """What is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class TrialSample:
    """One prompt's way through the stages."""

    prompt: Prompt
    answers: Sequence[tuple[str, Answer]]
    """Stage → answer to the prompt, or to a request made from such an answer."""
    pair: Pair | None
    outcome: str
    """What became of the pair, or why there is none; empty if the method makes no pairs."""

    def lines(self) -> Iterator[SampleLine]:
        """The sample, line by line."""
        if keywords := self.prompt.origin.keywords:
            yield SampleLine(name="keywords", text=", ".join(keywords))
        yield SampleLine(name="prompt", text=self.prompt.dialogue)
        if self.pair and (gold := next((s for s in _sides(self.pair) if s.model == "given"), None)):
            yield SampleLine(name=GOLD, text=gold.text)
        for name, answer in self.answers:
            yield SampleLine(name=name, text=answer.text, fault=", ".join(faults_of(answer)))
        if self.pair and self.pair.chosen_score is not None and self.pair.rejected_score is not None:
            gap = f"chosen {self.pair.chosen_score:+.3g}, rejected {self.pair.rejected_score:+.3g}"
            yield SampleLine(name="scores", text=f"{gap}, gap {self.pair.gap:+.3g}")
        if self.outcome:
            yield SampleLine(name="pair", text=self.outcome)


def samples(trial: Trial) -> list[TrialSample]:
    """A kept pair and one dropped for each reason, then prompts without a pair, one of each stage, then more pairs."""
    pairs = list(trial.seen.candidates.values())
    outcomes = [_outcome(trial, pair) for pair in pairs]
    firsts = sorted({outcomes.index(outcome) for outcome in outcomes}, key=lambda i: outcomes[i] != KEPT)
    places = [*firsts, *(i for i in range(len(pairs)) if i not in firsts)]
    chosen = [_sample(trial, pairs[i].prompt, pairs[i]) for i in firsts[:SHOWN]]
    chosen += _without_pair(trial)[: SHOWN - len(chosen)]
    return chosen + [_sample(trial, pairs[i].prompt, pairs[i]) for i in places[len(firsts) :][: SHOWN - len(chosen)]]


def _without_pair(trial: Trial) -> list[TrialSample]:
    """An answer of each stage that led to no pair, faulty ones first; the benchmark's if the method asks nothing."""
    paired = {pair.prompt.id for pair in trial.seen.candidates.values()}
    used = {pair.prompt.origin.parent for pair in trial.seen.candidates.values()}
    stages = _asking(trial)
    known = {answer.id for stage in stages for answer in stage.answers}
    found: dict[str, TrialSample] = {}
    for stage in _worst_first(stages):
        free = [a for a in stage.answers if a.id not in used and a.prompt.id not in paired]
        roots = [a for a in free if a.prompt.origin.parent not in known]
        answer = next((a for a in roots if any(faults_of(a))), next(iter(roots), None))
        if answer is not None:
            found.setdefault(answer.prompt.id, _sample(trial, answer.prompt, None, answer))
    return list(found.values())


def _asking(trial: Trial) -> Sequence[TriedStage]:
    stages = [stage for stage in trial.stages if stage.answers]
    return stages or [stage for stage in trial.measuring if stage.answers]


def _worst_first(stages: Sequence[TriedStage]) -> list[TriedStage]:
    return sorted(stages, key=lambda stage: -sum(stage.faults.values()))


def _sample(trial: Trial, prompt: Prompt, pair: Pair | None, first: Answer | None = None) -> TrialSample:
    """The answers to a prompt and to requests made from them, at most a few of each stage, sides of the pair first."""
    sides = {side.id for side in _sides(pair)} if pair else {first.id} if first else set[str]()
    known = {first.id} if first else set[str]()
    answers: list[tuple[str, Answer]] = []
    for stage in _asking(trial):
        own = [a for a in stage.answers if a.prompt.asks_the_same(prompt) or a.prompt.origin.parent in known]
        own.sort(key=lambda a: a.id not in sides and not _written(a, pair))
        known |= {answer.id for answer in own}
        answers += [(short(stage.card.name), answer) for answer in own[:ANSWERS]]
    return TrialSample(prompt=prompt, answers=answers, pair=pair, outcome=_outcome(trial, pair, answers))


def _written(answer: Answer, pair: Pair | None) -> bool:
    """Whether an answer's words are a side of the pair."""
    return pair is not None and any(answer.token_ids == side.token_ids for side in _sides(pair))


def _outcome(trial: Trial, pair: Pair | None, answers: Sequence[tuple[str, Answer]] = ()) -> str:
    if pair is None and not any(stage.answers for stage in trial.stages):
        return ""
    if pair is None:
        fault = next((found for _, answer in answers if (found := answer_fault(answer))), "")
        return f"none: {fault}" if fault else "none"
    if reason := trial.seen.dropped.get(pair.id):
        return f"dropped: {reason}"
    if pair.id in trial.seen.trained:
        return KEPT
    return "dropped by the method" if trial.seen.trained else "not trained on"


def _sides(pair: Pair) -> tuple[Answer, Answer]:
    return pair.chosen, pair.rejected


def short(name: str) -> str:
    """A stage's name without the iteration, which is the only one."""
    return name.removeprefix("iteration-1/")
