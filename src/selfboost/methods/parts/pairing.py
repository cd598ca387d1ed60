"""From scored answers to preference pairs: which are kept, and counts of every reason to drop one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from selfboost.notes import Counts
from selfboost.records import Answer, Example, Pair, Prompt, Verdict
from selfboost.setting_types import Score, Several, Share
from selfboost.statistics import repeated_share
from selfboost.verbs import Verbs

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Filtered(Counts, kept_as="filter", decided_by="method.filter or scorer.threshold"):
    """What became of candidate pairs."""


@dataclass(frozen=True, kw_only=True)
class GoldPairs(Counts, kept_as="pairs", decided_by="method.sampling"):
    """What became of a model's own answers beside gold ones."""


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

    def keep(self, candidates: Iterable[Pair], threshold: float) -> tuple[list[Pair], dict[str, int]]:
        """The pairs to train on, and counts of the dropped ones by reason. `threshold` is the scorer's own."""
        least = threshold if self.threshold is None else self.threshold
        kept: list[Pair] = []
        counts = Counter[str]()
        for pair in candidates:
            reason = self._objection(pair, least)
            counts["candidates"] += 1
            counts[reason or "kept"] += 1
            if not reason:
                kept.append(pair)
        return kept, dict(counts)

    def _objection(self, pair: Pair, least: float) -> str:
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
) -> list[Pair]:
    """The best over the worst of each prompt's answers, which are adjacent, equally many per prompt."""
    n = len(answers) // len(prompts) if prompts else 0
    pairs: list[Pair] = []
    for i, prompt in enumerate(prompts):
        ranked = best_and_worst(answers[i * n : (i + 1) * n], verdicts[i * n : (i + 1) * n])
        if ranked is not None:
            (best, high), (worst, low) = ranked
            pairs.append(run.pair(prompt, best, worst, (high, low)))
    run.count(Filtered, {"fewer than two scored answers": len(prompts) - len(pairs)})
    return pairs


def gold_of(run: Verbs, own: Sequence[Answer]) -> list[Example]:
    """The seed with the gold answer for each own answer, in order."""
    seeds = {seed.prompt.id: seed for seed in run.seeds}
    return [seeds[answer.prompt.id] for answer in own]


def gold_pairs(run: Verbs, own: Sequence[Answer]) -> list[Pair]:
    """Gold over a model's own answer, one pair per answer to a seed; answers without one are counted by reason."""
    counts = Counter[str]()
    pairs: list[Pair] = []
    for seed, answer in zip(gold_of(run, own), own, strict=True):
        reason = objection(seed.answer, answer)
        counts[reason or "kept"] += 1
        if not reason:
            pairs.append(run.pair(seed.prompt, chosen=seed.answer, rejected=answer))
    run.count(GoldPairs, counts)
    return pairs


def best_and_worst(
    answers: Sequence[Answer], verdicts: Sequence[Verdict]
) -> tuple[tuple[Answer, Verdict], tuple[Answer, Verdict]] | None:
    """The best and the worst scored answer of one prompt; None if fewer than two have a score."""
    scored = [(v.value, a, v) for a, v in zip(answers, verdicts, strict=True) if v.value is not None]
    if len(scored) < 2:
        return None
    best, worst = max(scored, key=lambda item: item[0]), min(scored, key=lambda item: item[0])
    return best[1:], worst[1:]


def scored_pairs(
    run: Verbs, prompts: Sequence[Prompt], chosen: Sequence[Answer], rejected: Sequence[Answer]
) -> list[Pair]:
    """One pair per prompt, both sides scored as replies to that prompt, whatever request they were written for."""
    pairs = [run.pair(p, c, r) for p, c, r in zip(prompts, chosen, rejected, strict=True)]
    replies = [
        replace(side, prompt=pair.prompt, prompt_ids=pair.prompt_ids)
        for pair in pairs
        for side in (pair.chosen, pair.rejected)
    ]
    verdicts = run.score("pair-scores", replies)
    return [
        replace(pair, chosen_score=better.value, rejected_score=worse.value, scorer=better.scorer)
        for pair, better, worse in zip(pairs, verdicts[::2], verdicts[1::2], strict=True)
    ]


def pick(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """`count` random items in their original order, or all if there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), count))]
