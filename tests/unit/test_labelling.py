"""Dynamic sample labelling: who is chosen follows from the two scores alone, and every prompt is counted."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, ClassVar

import pytest

from fake_recipes import Heard, write_recipe
from selfboost import recipe
from selfboost.methods.parts.labelling import Labelling, Labels, Scores
from selfboost.methods.parts.pairing import gold_pairs
from selfboost.records import Answer, Model, Pair, Verdict
from selfboost.run import Run
from selfboost.scorers import Scorer
from selfboost.train import Trainer

_KEEP = TemporaryDirectory()


def number(answer: Answer) -> float | None:
    """The last number that an answer says."""
    found = re.findall(r"-?\d+(?:\.\d+)?", answer.text)
    return float(found[-1]) if found else None


@dataclass(frozen=True, kw_only=True)
class Number:
    """An answer's last number; no value where it says none."""

    threshold: float = 0.0
    judge: str = ""
    """A model that it claims to need."""

    def needs(self) -> Mapping[str, str]:
        return {"judge": self.judge} if self.judge else {}

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        for answer in answers:
            value = number(answer)
            yield Verdict(answer=answer.id, scorer="number", value=value, reason="" if value is not None else "none")


@dataclass(frozen=True, kw_only=True)
class HigherNumber(Number):
    """How much more an answer says than its one neighbour of the same prompt; a lone answer has no value."""

    pairwise: ClassVar[bool] = True

    def score(self, answers: Sequence[Answer], models: Mapping[str, Model], trainer: Trainer) -> Iterator[Verdict]:
        for i, answer in enumerate(answers):
            beside = [a for a in answers[max(0, i - 1) : i + 2] if a is not answer and a.prompt.id == answer.prompt.id]
            values = [number(a) for a in (answer, *beside)]
            value = values[0] - values[1] if len(values) == 2 and None not in values else None  # type: ignore[operator]
            yield Verdict(answer=answer.id, scorer="higher", value=value, reason="" if value is not None else "none")


def begun(scorer: Scorer | None = None) -> Run:
    """A run of ten seeds whose gold answers say a number each, in its first iteration."""
    folder = Path(mkdtemp(dir=_KEEP.name))
    path = write_recipe(folder, "spin", run={"max_failed": 1.0})
    found = replace(recipe.read(path), scorer=scorer or Number())
    run = Run(found, folder / "run", Heard())
    run.begin(1, run.initial)
    return run


def own(run: Run, texts: Sequence[str | float], **fields: Any) -> list[Answer]:
    """Own answers to the first seeds; a number is said in so many words."""
    said = [text if isinstance(text, str) else f"It is mine {text}." for text in texts]
    given = [run.given(seed.prompt, text) for seed, text in zip(run.seeds, said, strict=False)]
    return [replace(answer, **{"finish": "stop", "model": "m"} | fields) for answer in given]


def gold_values(run: Run) -> list[float]:
    values = [number(seed.answer) for seed in run.seeds]
    assert None not in values
    return [value for value in values if value is not None]


def above_gold(run: Run, gaps: Sequence[float]) -> list[Answer]:
    """Own answers that score so much more than gold."""
    return own(run, [value + gap for value, gap in zip(gold_values(run), gaps, strict=False)])


def generated(pairs: Sequence[Pair]) -> list[bool]:
    """Whether the own answer is the chosen one of each pair."""
    assert all({pair.chosen.model, pair.rejected.model} == {"given", "m"} for pair in pairs)
    return [pair.chosen.model == "m" for pair in pairs]


def labels(run: Run) -> Labels:
    note = run.notes.get(Labels)
    assert note is not None
    return note


def scores(run: Run) -> Scores:
    note = run.notes.get(Scores)
    assert note is not None
    return note


GAPS = (-2.0, -1.0, 0.0, 1.0, 2.0, 0.0, -1.0, 3.0, 0.5, -0.5)


def test_minus_infinity_flips_every_pair() -> None:
    run = begun()
    answers = above_gold(run, GAPS)
    flipped, plain = Labelling(threshold=-math.inf).label(run, answers), gold_pairs(run, answers)
    assert len(plain) == len(GAPS)
    assert [(p.prompt, p.chosen, p.rejected) for p in flipped] == [(p.prompt, p.rejected, p.chosen) for p in plain]
    assert labels(run).generated_chosen == len(GAPS)


def test_infinity_makes_the_pairs_of_spin() -> None:
    run = begun()
    answers = above_gold(run, GAPS)
    pairs = Labelling(threshold=math.inf).label(run, answers)
    bare = [replace(pair, chosen_score=None, rejected_score=None, scorer="") for pair in pairs]
    assert bare == gold_pairs(run, answers)


@pytest.mark.parametrize("threshold", [-1.0, -0.5, 0.0, 0.5, 9.0])
@pytest.mark.parametrize("ties", ["generated", "gold", "drop"])
def test_who_is_chosen_follows_from_the_gap(threshold: float, ties: Any) -> None:
    run = begun()
    pairs = Labelling(threshold=threshold, ties=ties).label(run, above_gold(run, GAPS))
    kept = [gap for gap in GAPS if gap != threshold or ties != "drop"]
    wins = [gap > threshold or (gap == threshold and ties == "generated") for gap in kept]
    assert generated(pairs) == wins
    assert [pair.gap for pair in pairs] == [gap if win else -gap for gap, win in zip(kept, wins, strict=True)]
    found = labels(run)
    assert found.ties == GAPS.count(threshold)
    assert (found.generated_chosen, found.gold_chosen) == (sum(wins), len(wins) - sum(wins))
    assert found.no_pair.get("dropped as a tie", 0) == len(GAPS) - len(kept)


def test_the_default_is_the_papers_ties_go_to_the_generated_answer() -> None:
    run = begun()
    assert generated(Labelling().label(run, above_gold(run, (0.0, -1e-6, 1e-6)))) == [True, False, True]


def test_a_pair_has_the_scores_of_its_sides_in_their_places() -> None:
    run = begun()
    pairs = Labelling().label(run, above_gold(run, GAPS))
    assert len(pairs) == len(GAPS)
    for pair in pairs:
        assert (pair.chosen_score, pair.rejected_score) == (number(pair.chosen), number(pair.rejected))
        assert pair.scorer == "number"


@pytest.mark.parametrize("threshold", [-math.inf, 0.0, math.inf])
def test_without_a_verdict_the_human_label_stays_or_the_pair_goes(threshold: float) -> None:
    run = begun()
    answers = own(run, ["no number at all", 1000.0])
    kept = Labelling(threshold=threshold).label(run, answers)
    assert generated(kept) == [False, threshold != math.inf]
    assert (kept[0].gap, kept[0].chosen_score) == (None, gold_values(run)[0])
    assert labels(run).unscored == 1
    dropped = Labelling(threshold=threshold, unscored="drop").label(run, answers)
    assert dropped == kept[1:]
    assert labels(run).unscored == labels(run).no_pair["dropped without a score"] == 1


def test_what_makes_no_pair_is_counted_by_its_reason() -> None:
    run = begun()
    failed = own(run, ["", "", "", ""], finish="failed", token_ids=())[0]
    empty = own(run, [" ", " "])[1]
    same = replace(own(run, [seed.answer.text for seed in run.seeds])[2], finish="stop")
    good = own(run, [0.0, 0.0, 0.0, 1000.0])[3]
    for tie in ("generated", "gold", "drop"):
        pairs = Labelling(ties=tie, unscored="drop").label(run, [failed, empty, same, good])  # type: ignore[arg-type]
        assert [pair.chosen for pair in pairs] == [good]
        reasons = {"failed answer": 1, "empty answer": 1, "chosen equals rejected": 1}
        changed = 1 if tie == "generated" else 0
        assert labels(run) == Labels(
            gold_chosen=0, generated_chosen=1, no_pair=reasons, ties=0, unscored=0, changed=changed
        )


@pytest.mark.parametrize("ties", ["generated", "gold", "drop"])
@pytest.mark.parametrize("unscored", ["gold", "drop"])
@pytest.mark.parametrize("threshold", [-math.inf, 0.0, 1.0])
def test_every_prompt_is_counted_once(threshold: float, ties: Any, unscored: Any) -> None:
    run = begun()
    kinds = [-1.0, 0.0, 1.0, 2.0]
    said = [value + kind for value, kind in zip(gold_values(run), kinds, strict=False)]
    said += ["no number", "none", " ", "", run.seeds[8].answer.text, 0.0]
    pairs = Labelling(threshold=threshold, ties=ties, unscored=unscored).label(run, own(run, said))
    found = labels(run)
    assert found.gold_chosen + found.generated_chosen + sum(found.no_pair.values()) == len(said)
    assert len(pairs) == found.gold_chosen + found.generated_chosen
    assert all(0 <= count <= len(said) for count in (found.ties, found.unscored, found.changed))


def test_a_scorer_that_compares_sees_both_side_by_side_and_agrees_with_one_that_does_not() -> None:
    alone, beside = begun(Number()), begun(HigherNumber())
    one, two = (Labelling().label(run, above_gold(run, GAPS)) for run in (alone, beside))
    assert [(p.chosen, p.rejected) for p in one] == [(p.chosen, p.rejected) for p in two]
    assert labels(alone) == labels(beside)
    for name in ("generated_beats_gold", "ties", "without_a_value"):
        assert getattr(scores(alone), name) == getattr(scores(beside), name)
    assert [stages(run) for run in (alone, beside)] == [
        ["iteration-1/own-scores", "prepare/gold-scores"],
        ["iteration-1/label-scores"],
    ]


def stages(run: Run) -> list[str]:
    """The stages that were computed, in order."""
    assert isinstance(run.listener, Heard)
    return run.listener.started_stages


def test_gold_is_scored_once_and_own_answers_in_every_iteration() -> None:
    run = begun()
    first = above_gold(run, GAPS)
    Labelling().label(run, first[:4])  # of a few prompts
    run.begin(2, run.initial)
    Labelling().label(run, first[2:])  # of others
    assert stages(run) == ["iteration-1/own-scores", "prepare/gold-scores", "iteration-2/own-scores"]
    run.begin(2, run.initial)
    Labelling(threshold=5.0).label(run, first[2:])
    assert len(stages(run)) == 3, "another threshold needs no new scores"


def test_a_judge_that_changes_judges_gold_anew() -> None:
    run = begun(Number(judge="previous"))
    for iteration in (1, 2):
        run.begin(iteration, run.initial)
        pairs = Labelling().label(run, above_gold(run, GAPS))
        assert generated(pairs) == [gap >= 0 for gap in GAPS]
    assert stages(run) == [f"iteration-{t}/{name}" for t in (1, 2) for name in ("own-scores", "gold-scores")]


def test_labels_that_change_are_counted_against_the_prompts_last_ones() -> None:
    run = begun()
    changed: list[int] = []
    for iteration, gaps in enumerate([(1, 1, -1, -1), (1, -1, 1, -1), (-1, -1, 1, 1, 1)], start=1):
        run.begin(iteration, run.initial)
        Labelling().label(run, above_gold(run, gaps))
        changed.append(labels(run).changed)
    assert changed == [2, 2, 3], "a prompt without an earlier label was gold's"


def test_how_gold_and_generated_answers_compare_is_in_the_record() -> None:
    run = begun()
    answers = [*above_gold(run, (4.0, 0.0, -1.0)), *own(run, ["", "", "", "no number"])[3:]]
    Labelling(threshold=2.0).label(run, answers)
    golds, found = gold_values(run), scores(run)
    assert found.gold_mean == pytest.approx(sum(golds[:4]) / 4)
    assert found.generated_mean == pytest.approx((sum(golds[:3]) + 3) / 3)
    assert found.generated_beats_gold == found.ties == pytest.approx(1 / 3, abs=1e-6)
    assert found.without_a_value == 0.25


def test_a_scorer_that_says_nothing_at_all_is_no_labeller() -> None:
    run = begun()
    with pytest.raises(ValueError, match=r"iteration 1: the scorer gave no score to any pair, so no label is decided"):
        Labelling().label(run, own(run, ["nothing", "at all"]))
    assert labels(run).unscored == 2


@pytest.mark.parametrize(("unscored", "loud"), [(0, False), (1, False), (2, True)])
def test_many_labels_that_are_not_the_scorers_are_said_aloud(unscored: int, loud: bool) -> None:
    run = begun()
    Labelling().label(run, own(run, ["none"] * unscored + [1000.0 + i for i in range(10 - unscored)]))
    told = f"iteration 1: {unscored} of 10 prompts have no score for gold or own answer, mostly: none; method.labelling"
    assert any(told in sentence for sentence in run.listener.said) == loud  # type: ignore[attr-defined]


def test_scores_that_differ_by_rounding_alone_are_a_tie() -> None:
    run = begun()
    answers = above_gold(run, (0.1, 0.1, 0.2))
    run.seeds[:] = run.seeds[:3]
    gaps = [number(a) - g for a, g in zip(answers, gold_values(run), strict=True)]  # type: ignore[operator]
    assert gaps[0] != 0.1 or gaps[1] != 0.1
    assert generated(Labelling(threshold=0.1, ties="gold").label(run, answers)) == [False, False, True]


def test_where_nothing_has_a_value_nothing_is_averaged() -> None:
    run = begun()
    with pytest.raises(ValueError, match="no score to any pair"):
        Labelling().label(run, own(run, ["nothing", "at all"]))
    assert scores(run) == Scores(gold_mean=sum(gold_values(run)[:2]) / 2, without_a_value=1.0)
