"""From scored answers to preference pairs: which are kept, and counts of every reason to drop one."""

from __future__ import annotations

import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, itemgetter
from typing import ClassVar, TypeVar

from selfboost.disk.sequences import Mapped, Selected, Spread, sorted_out, taken_apart
from selfboost.notes import Counts
from selfboost.records import Answer, Example, Pair, Prompt, Verdict
from selfboost.setting_types import Score, Several, Share
from selfboost.statistics import repeated_share
from selfboost.verbs import Sides, Verbs

Item = TypeVar("Item")


FAULTY_ANSWERS: Mapping[str, str] = {
    "failed answer": "the card of the stage that sampled them has the reason",
    "empty answer": "the model writes nothing: look at method.sampling, and at the chat template that `check` shows",
    "chosen equals rejected": "raise method.sampling.temperature, so that answers differ",
}
"""Why answers make no pair → what to change."""


@dataclass(frozen=True, kw_only=True)
class Filtered(Counts, kept_as="filter", decided_by="method.filter or scorer.threshold"):
    """What became of candidate pairs."""

    things: ClassVar[str] = "candidate pairs"
    total: ClassVar[str] = "candidates"
    cures: ClassVar[Mapping[str, str]] = {
        **FAULTY_ANSWERS,
        "score gap below the threshold": "lower method.filter.threshold, or scorer.threshold where it is not set",
        "chosen answer cut": "raise max_tokens where the chosen answers are sampled, or set method.filter.keep_cut = "
        "true",
        "repetitive": "raise method.filter.max_repetition, or the temperature at which answers are sampled",
        "without a score": "the card of the scoring stage has the reason",
        "fewer than two scored answers": "the card of the scoring stage has the reason",
    }


@dataclass(frozen=True, kw_only=True)
class GoldPairs(Counts, kept_as="pairs", decided_by="method.sampling"):
    """What became of a model's own answers beside gold ones."""

    things: ClassVar[str] = "pairs of gold and own answers"
    cures: ClassVar[Mapping[str, str]] = FAULTY_ANSWERS


@dataclass(frozen=True, kw_only=True)
class PairFilter:
    """Which candidate pairs are kept (SynPO, arXiv 2410.06961, section 2.3)."""

    threshold: Score | None = None
    """Smallest score gap between chosen and rejected; if omitted, the scorer's threshold."""
    max_repetition: Share = 0.5
    """Highest share of repeated word n-grams in either answer (the paper gives 50 % and no metric)."""
    repetition_words: Several = 4
    """Words per n-gram."""
    keep_cut: bool = False
    """Keep pairs whose chosen answer was cut at the token limit; such pairs teach the model not to stop."""

    def keep(self, candidates: Sequence[Pair], threshold: float) -> tuple[Sequence[Pair], dict[str, int]]:
        """The pairs to train on, and counts of the dropped ones by reason. `threshold` is the scorer's own."""
        least = threshold if self.threshold is None else self.threshold
        kept, counts = sorted_out(self.objection(pair, least) for pair in candidates)
        return Selected(candidates, kept), {"candidates": len(candidates), **counts} if candidates else {}

    def objection(self, pair: Pair, least: float) -> str:
        """Why a candidate is dropped, `least` being the smallest score gap; empty if it is kept."""
        chosen, rejected = pair.chosen, pair.rejected
        if fault := objection(chosen, rejected):
            return fault
        if chosen.finish == "length" and not self.keep_cut:
            return "chosen answer cut at the token limit"
        if any(self._repetition(side) > self.max_repetition for side in (chosen, rejected)):
            return "repetitive"
        if pair.gap is None:
            return "without a score"
        return "score gap below the threshold" if pair.gap < least else ""

    def _repetition(self, answer: Answer) -> float:
        return repeated_share(answer.text.split(), self.repetition_words)


def answer_fault(answer: Answer) -> str:
    """Why an answer cannot be a side of a pair; empty if it can."""
    if answer.finish == "failed":
        return "failed answer"
    return "" if answer.token_ids and answer.text.strip() else "empty answer"


def objection(chosen: Answer, rejected: Answer) -> str:
    """Why two answers cannot be a pair; empty if they can."""
    same = "chosen equals rejected" if chosen.token_ids == rejected.token_ids else ""
    return answer_fault(chosen) or answer_fault(rejected) or same


def ranked_pairs(
    run: Verbs, prompts: Sequence[Prompt], answers: Sequence[Answer], verdicts: Sequence[Verdict]
) -> Sequence[Pair]:
    """The best over the worst of each prompt's answers, which are adjacent, equally many per prompt."""
    n = len(answers) // len(prompts) if prompts else 0
    values = [verdict.value for verdict in verdicts]
    ranked = [best_and_worst(values, range(i * n, (i + 1) * n)) for i in range(len(prompts))]
    kept = array("q", (i for i, found in enumerate(ranked) if found is not None))
    best, worst = (array("q", (found[side] for found in ranked if found is not None)) for side in (0, 1))
    run.count(Filtered, {"fewer than two scored answers": len(prompts) - len(kept)})
    return run.pairs(
        with_verdicts,
        Selected(prompts, kept),
        *(Selected(items, side) for items in (answers, verdicts) for side in (best, worst)),
    )


def best_and_worst(values: Sequence[float | None], places: Sequence[int]) -> tuple[int, int] | None:
    """Where the best and the worst of some values are, the first of equals; None if fewer than two are known."""
    known = [(value, place) for place in places if (value := values[place]) is not None]
    if len(known) < 2:
        return None
    return max(known, key=itemgetter(0))[1], min(known, key=itemgetter(0))[1]


def with_verdicts(prompt: Prompt, chosen: Answer, rejected: Answer, better: Verdict, worse: Verdict) -> Sides:
    """What makes a scored pair, as `Verbs.pairs` asks for it."""
    return Sides(prompt, chosen, rejected, (better, worse))


def prompts_of(examples: Sequence[Example]) -> Sequence[Prompt]:
    """What is asked in examples."""
    return Mapped(attrgetter("prompt"), examples)


def answers_of(examples: Sequence[Example]) -> Sequence[Answer]:
    """The answers of examples."""
    return Mapped(attrgetter("answer"), examples)


def gold_of(run: Verbs, own: Sequence[Answer]) -> list[Example]:
    """The seed with the gold answer for each own answer, in order."""
    seeds = {seed.prompt.id: seed for seed in run.seeds}
    return [seeds[answer.prompt.id] for answer in own]


def gold_pairs(run: Verbs, own: Sequence[Answer]) -> Sequence[Pair]:
    """Gold over a model's own answer, one pair per answer to a seed; answers without one are counted by reason."""
    golds = gold_of(run, own)
    kept, counts = sorted_out(objection(seed.answer, answer) for seed, answer in zip(golds, own, strict=True))
    run.count(GoldPairs, counts)

    def sides(seed: Example, answer: Answer) -> Sides:
        return Sides(seed.prompt, seed.answer, answer)

    return run.pairs(sides, Selected(golds, kept), Selected(own, kept))


def scored_pairs(
    run: Verbs, prompts: Sequence[Prompt], chosen: Sequence[Answer], rejected: Sequence[Answer]
) -> Sequence[Pair]:
    """One pair per prompt, both sides scored as replies to that prompt, whatever request they were written for."""
    unscored = run.pairs(Sides, prompts, chosen, rejected)
    verdicts = run.score("pair-scores", Spread(replies_of, 2, unscored))
    return run.pairs(with_verdicts, prompts, chosen, rejected, *taken_apart(verdicts))


def replies_of(pair: Pair) -> Sequence[Answer]:
    """Both sides of a pair, chosen first, as answers to the pair's prompt, whatever request they were written for."""
    return [replace(side, prompt=pair.prompt, prompt_ids=pair.prompt_ids) for side in (pair.chosen, pair.rejected)]


def pick(items: Sequence[Item], count: int, seed: int) -> Sequence[Item]:
    """`count` random items in their original order, or all if there are no more."""
    if len(items) <= count:
        return items
    return Selected(items, sorted(random.Random(seed).sample(range(len(items)), count)))
