"""Dynamic sample labelling (DNPO, arXiv 2502.05400): a scorer decides whether gold or generated is chosen.

The recipe's scorer is used; any kind works. Gold answers are scored once for the whole run, generated ones in every
iteration; a pairwise scorer sees a prompt's two answers together, as in the authors' later code.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from selfboost.methods.parts.pairing import gold_of, objection
from selfboost.notes import Note
from selfboost.records import Answer, Example, Pair, Verdict
from selfboost.scorers import pairwise
from selfboost.setting_types import ScoreOrNone
from selfboost.verbs import Verbs

LOUD = 0.1
"""Share of prompts without a score from which a warning is shown."""
EQUAL = 1e-9
"""Scores within this tolerance are equal."""
DIGITS = 6
"""Of a mean or a share in the notes."""


@dataclass(frozen=True, kw_only=True)
class Labels(Note, decided_by="method.labelling"):
    """What became of an iteration's prompts: `gold_chosen`, `generated_chosen` and `no_pair` add up to all of them."""

    gold_chosen: int
    generated_chosen: int
    no_pair: Mapping[str, int]
    """Reason for no pair → prompts."""
    ties: int
    """Gaps at the threshold; like the next two, also included in the counts above."""
    unscored: int
    """Pairs that lack a score."""
    changed: int
    """Labels that differ from the prompt's last one; a prompt's initial label is gold."""


@dataclass(frozen=True, kw_only=True)
class Scores(Note):
    """How gold and generated answers compare by the scorer; None where nothing has a value.

    A tie is an equal score, whatever the threshold; a generated answer identical to gold usually is one.
    """

    gold_mean: float | None = None
    generated_mean: float | None = None
    generated_beats_gold: float | None = None
    """Share of the prompts with both scores, as the next one."""
    ties: float | None = None
    without_a_value: float | None = None
    """Share of all prompts."""


@dataclass(frozen=True, kw_only=True)
class GoldAndOwn:
    """A prompt's gold and generated answer, with the scorer's verdict on each."""

    gold: Example
    generated: Answer
    gold_verdict: Verdict
    generated_verdict: Verdict

    @property
    def gap(self) -> float | None:
        """Score of the generated answer minus that of the gold one; None if either is missing."""
        gold, generated = self.gold_verdict.value, self.generated_verdict.value
        return None if gold is None or generated is None else generated - gold


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """The generated answer is chosen if its score is at least gold's plus a threshold, else the gold one."""

    threshold: ScoreOrNone = 0.0
    """τ: the margin by which a generated answer must outscore gold; -inf: always chosen, inf: never."""
    ties: Literal["generated", "gold", "drop"] = "generated"
    """Which answer is chosen if the generated one has exactly τ more; or make no pair."""
    unscored: Literal["gold", "drop"] = "gold"
    """If the scorer has no value for one of the two: keep gold chosen, as in the seed; or make no pair."""

    def label(self, run: Verbs, own: Sequence[Answer]) -> list[Pair]:
        """A pair of each own answer (one per prompt) and its gold, with both scores; notes `Labels` and `Scores`.

        Raises:
            ValueError: the scorer gave no pair a score.
        """
        found = duels(run, own)
        faults = [objection(duel.gold.answer, duel.generated) for duel in found]
        contested = [duel for duel, fault in zip(found, faults, strict=True) if not fault]
        no_pair, wins, changed = Counter(fault for fault in faults if fault), Counter[str](), 0
        last: dict[str, str] = run.memory.setdefault("labels", {})
        pairs: list[Pair] = []
        for duel in contested:
            winner, prompt = self._winner(duel.gap), duel.gold.prompt.id
            if winner == "drop":
                no_pair["dropped without a score" if duel.gap is None else "dropped as a tie"] += 1
                continue
            wins[winner] += 1
            changed += winner != last.get(prompt, "gold")
            last[prompt] = winner
            pairs.append(_pair(run, duel, generated_wins=winner == "generated"))
        gaps = [duel.gap for duel in contested]
        run.note(
            Labels(
                gold_chosen=wins["gold"],
                generated_chosen=wins["generated"],
                no_pair=dict(no_pair),
                ties=sum(gap is not None and self._is_tie(gap) for gap in gaps),
                unscored=gaps.count(None),
                changed=changed,
            )
        )
        if gaps and gaps.count(None) == len(gaps):
            raise ValueError(f"iteration {run.iteration}: the scorer gave no score to any pair, so it decided no label")
        return pairs

    def _is_tie(self, gap: float) -> bool:
        return math.isclose(gap, self.threshold, rel_tol=EQUAL, abs_tol=EQUAL)  # 0.3 − 0.2 is not quite 0.1

    def _winner(self, gap: float | None) -> Literal["generated", "gold", "drop"]:
        if gap is None:
            return self.unscored
        if self._is_tie(gap):
            return self.ties
        return "generated" if gap > self.threshold else "gold"


def _tell_unscored(run: Verbs, found: Sequence[GoldAndOwn]) -> None:
    """Warn that the scorer has no value for many answers, with the most common reason."""
    unscored = [duel for duel in found if duel.gap is None]
    if len(unscored) <= LOUD * len(found):
        return
    verdicts = (verdict for duel in unscored for verdict in (duel.generated_verdict, duel.gold_verdict))
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.value is None)
    run.say(
        f"iteration {run.iteration}: {len(unscored)} of {len(found)} prompts have no score for gold or own answer, "
        f"mostly: {reasons.most_common(1)[0][0]}; method.labelling.unscored decides their labels"
    )


def duels(run: Verbs, own: Sequence[Answer]) -> list[GoldAndOwn]:
    """Each own answer beside its gold, both scored by the recipe's scorer; note `Scores`."""
    golds = gold_of(run, own)
    verdicts = _side_by_side(run, golds, own) if pairwise(run.recipe.scorer) else _each_alone(run, golds, own)
    found = [
        GoldAndOwn(gold=gold, generated=answer, gold_verdict=of_gold, generated_verdict=of_own)
        for gold, answer, (of_gold, of_own) in zip(golds, own, verdicts, strict=True)
    ]
    run.note(_compared(found))
    _tell_unscored(run, found)
    return found


def _side_by_side(run: Verbs, golds: Sequence[Example], own: Sequence[Answer]) -> list[tuple[Verdict, Verdict]]:
    both = [side for gold, answer in zip(golds, own, strict=True) for side in (gold.answer, answer)]
    verdicts = run.score("label-scores", both)
    return list(zip(verdicts[::2], verdicts[1::2], strict=True))


def _each_alone(run: Verbs, golds: Sequence[Example], own: Sequence[Answer]) -> list[tuple[Verdict, Verdict]]:
    """Scores gold for all of the run's seeds at once, so that no iteration's choice of prompts needs new scores."""
    of_own = run.score("own-scores", own)
    if "previous" in run.recipe.scorer.needs().values():  # a new judge in every iteration
        of_gold = run.score("gold-scores", [gold.answer for gold in golds])
    else:
        scored = run.score("prepare/gold-scores", [seed.answer for seed in run.seeds])
        known = {seed.prompt.id: verdict for seed, verdict in zip(run.seeds, scored, strict=True)}
        of_gold = [known[gold.prompt.id] for gold in golds]
    return list(zip(of_gold, of_own, strict=True))


def _pair(run: Verbs, duel: GoldAndOwn, *, generated_wins: bool) -> Pair:
    gold, generated = (duel.gold.answer, duel.gold_verdict), (duel.generated, duel.generated_verdict)
    chosen, rejected = (generated, gold) if generated_wins else (gold, generated)
    return run.pair(duel.gold.prompt, chosen[0], rejected[0], (chosen[1], rejected[1]))


def _compared(found: Sequence[GoldAndOwn]) -> Scores:
    golds = [d.gold_verdict.value for d in found if d.gold_verdict.value is not None]
    generated = [d.generated_verdict.value for d in found if d.generated_verdict.value is not None]
    gaps = [gap for gap in (duel.gap for duel in found) if gap is not None]
    return Scores(
        gold_mean=_mean(golds),
        generated_mean=_mean(generated),
        generated_beats_gold=_mean([gap > 0 for gap in gaps]),
        ties=_mean([gap == 0 for gap in gaps]),
        without_a_value=_mean([duel.gap is None for duel in found]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), DIGITS) if values else None
