"""Dynamic sample labelling (DNPO, arXiv 2502.05400): a scorer decides whether gold or generated is chosen.

The recipe's scorer is used; any kind works. Gold answers are scored once for the whole run, generated ones in every
iteration; a pairwise scorer sees a prompt's two answers together, as in the authors' later code.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from selfboost.disk.sequences import Mapped, Selected, alternating, taken_apart
from selfboost.methods.parts.pairing import FAULTY_ANSWERS, answers_of, gold_of, objection
from selfboost.notes import Counts, Note
from selfboost.records import Answer, Example, Pair, Verdict
from selfboost.scorers import pairwise
from selfboost.setting_types import ScoreOrNone
from selfboost.verbs import Sides, Verbs

LOUD = 0.1
"""Share of prompts without a score from which a warning is shown."""
EQUAL = 1e-9
"""Scores within this tolerance are equal."""
UNLABELLED = ', so no label is decided; its stage\'s card has the reason (method.labels = "gold" needs no scorer)'
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

    @property
    def nothing_left(self) -> str:
        """Why prompts have no pair."""
        kept = {"kept": self.gold_chosen + self.generated_chosen}
        return _NoPair(counts={**self.no_pair, **kept}).nothing_left


@dataclass(frozen=True, kw_only=True)
class _NoPair(Counts):
    """Prompts by the reason for which they have no pair."""

    things: ClassVar[str] = "prompts"
    cures: ClassVar[Mapping[str, str]] = {
        **FAULTY_ANSWERS,
        "dropped without a score": 'set method.labelling.unscored = "gold", or see on the scoring stage\'s card why',
        "dropped as a tie": 'set method.labelling.ties = "generated" or "gold"',
    }


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

    def label(self, run: Verbs, own: Sequence[Answer]) -> Sequence[Pair]:
        """A pair of each own answer (one per prompt) and its gold, with both scores; notes `Labels` and `Scores`.

        Raises:
            ValueError: the scorer gave no pair a score.
        """
        found = duels(run, own)
        no_pair, wins, changed = Counter[str](), Counter[str](), 0
        last: dict[str, str] = run.memory.setdefault("labels", {})
        gaps: list[float | None] = []
        kept, generated_wins = array("q"), array("b")
        for place, duel in enumerate(found):
            if fault := objection(duel.gold.answer, duel.generated):
                no_pair[fault] += 1
                continue
            gaps.append(duel.gap)
            winner, prompt = self._winner(duel.gap), duel.gold.prompt.id
            if winner == "drop":
                no_pair["dropped without a score" if duel.gap is None else "dropped as a tie"] += 1
                continue
            wins[winner] += 1
            changed += winner != last.get(prompt, "gold")
            last[prompt] = winner
            kept.append(place)
            generated_wins.append(winner == "generated")
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
            raise ValueError(f"iteration {run.iteration}: the scorer gave no score to any pair{UNLABELLED}")
        return run.pairs(_sides, Selected(found, kept), generated_wins)

    def _is_tie(self, gap: float) -> bool:
        return math.isclose(gap, self.threshold, rel_tol=EQUAL, abs_tol=EQUAL)  # 0.3 − 0.2 is not quite 0.1

    def _winner(self, gap: float | None) -> Literal["generated", "gold", "drop"]:
        if gap is None:
            return self.unscored
        if self._is_tie(gap):
            return self.ties
        return "generated" if gap > self.threshold else "gold"


def _tell_unscored(run: Verbs, of_gold: Verdicts, of_own: Verdicts) -> None:
    """Warn that the scorer has no value for many answers, with the most common reason."""
    reasons, unscored = Counter[str](), 0
    for verdicts in zip(of_own, of_gold, strict=True):
        without = [verdict.reason for verdict in verdicts if verdict.value is None]
        reasons.update(without)
        unscored += bool(without)
    if unscored <= LOUD * len(of_own):
        return
    run.say(
        f"iteration {run.iteration}: {unscored} of {len(of_own)} prompts have no score for gold or own answer, "
        f"mostly: {reasons.most_common(1)[0][0]}; method.labelling.unscored decides their labels"
    )


def duels(run: Verbs, own: Sequence[Answer]) -> Sequence[GoldAndOwn]:
    """Each own answer beside its gold, both scored by the recipe's scorer; note `Scores`."""
    golds = gold_of(run, own)
    verdicts = _side_by_side(run, golds, own) if pairwise(run.recipe.scorer) else _each_alone(run, golds, own)
    run.note(_compared(*verdicts))
    _tell_unscored(run, *verdicts)
    return Mapped(_duel, golds, own, *verdicts)


def _duel(gold: Example, own: Answer, of_gold: Verdict, of_own: Verdict) -> GoldAndOwn:
    return GoldAndOwn(gold=gold, generated=own, gold_verdict=of_gold, generated_verdict=of_own)


Verdicts = Sequence[Verdict]


def _side_by_side(run: Verbs, golds: Sequence[Example], own: Sequence[Answer]) -> tuple[Verdicts, Verdicts]:
    return taken_apart(run.score("label-scores", alternating(answers_of(golds), own)))


def _each_alone(run: Verbs, golds: Sequence[Example], own: Sequence[Answer]) -> tuple[Verdicts, Verdicts]:
    """Scores gold for all of the run's seeds at once, so that no iteration's choice of prompts needs new scores."""
    of_own = run.score("own-scores", own)
    if "previous" in run.recipe.scorer.needs().values():  # a new judge in every iteration
        of_gold = run.score("gold-scores", answers_of(golds))
    else:
        scored = run.score("prepare/gold-scores", answers_of(run.seeds))
        known = {seed.prompt.id: verdict for seed, verdict in zip(run.seeds, scored, strict=True)}
        of_gold = [known[gold.prompt.id] for gold in golds]
    return of_gold, of_own


def _sides(duel: GoldAndOwn, generated_wins: bool) -> Sides:
    gold, generated = (duel.gold.answer, duel.gold_verdict), (duel.generated, duel.generated_verdict)
    chosen, rejected = (generated, gold) if generated_wins else (gold, generated)
    return Sides(duel.gold.prompt, chosen[0], rejected[0], (chosen[1], rejected[1]))


def _compared(of_gold: Verdicts, of_own: Verdicts) -> Scores:
    golds, generated = [verdict.value for verdict in of_gold], [verdict.value for verdict in of_own]
    both = [(gold, own) for gold, own in zip(golds, generated, strict=True) if gold is not None and own is not None]
    return Scores(
        gold_mean=_mean([value for value in golds if value is not None]),
        generated_mean=_mean([value for value in generated if value is not None]),
        generated_beats_gold=_mean([own > gold for gold, own in both]),
        ties=_mean([own == gold for gold, own in both]),
        without_a_value=round((len(golds) - len(both)) / len(golds), DIGITS) if golds else None,
    )


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), DIGITS) if values else None
