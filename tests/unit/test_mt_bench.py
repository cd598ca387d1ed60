"""MT-Bench: ratings are read as FastChat reads them, turns of a question are resampled together."""

import json

import numpy as np
import pytest

from real_data import real
from selfboost.benchmarks.parts.mt_bench import (
    REFERENCE_CATEGORIES,
    TEMPERATURES,
    TurnRating,
    by_category,
    parse,
    score_of,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Good. Rating: [[7]]", 7),
        ("[[8.5]] rather than [[3]]", 8.5),
        ("Rating: [9]", 9),
        ("[3] words, Rating: [[4]]", 4),
        ("Rating: 7", None),
        ("[[0]]", None),
        ("[[11]]", None),
        ("[[]]", None),
        ("", None),
    ],
)
def test_ratings_are_read(text: str, value: float | None) -> None:
    assert parse(text) == value


def rating(question: int, turn: int, value: float | None, category: str = "math") -> TurnRating:
    return TurnRating(question=str(question), turn=turn, category=category, value=value)


def test_the_score_is_the_mean_over_turns() -> None:
    found = score_of([rating(1, 1, 10), rating(1, 2, 4), rating(2, 1, 7), rating(2, 2, None)])
    assert found.score.value == pytest.approx(7)
    assert (found.turns, found.unread) == (3, 1)
    assert (found.low, found.high) == pytest.approx((22 / 4, 31 / 4))


@pytest.mark.slow
def test_the_interval_covers_the_truth_where_turns_of_a_question_agree() -> None:
    """200 experiments of 80 questions; resampling turns as if independent covers less than it says."""
    inside = naive = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        levels = draw.normal(6, 2, size=80)
        turns = [rating(q, t, float(levels[q] + draw.normal(0, 0.3))) for q in range(80) for t in (1, 2)]
        found = score_of(turns, seed=seed).score
        inside += found.low <= 6 <= found.high
        values = np.array([each.value for each in turns], dtype=float)
        half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
        naive += abs(values.mean() - 6) <= half
    assert inside / 200 == pytest.approx(0.95, abs=0.045)
    assert naive / 200 < 0.9


def test_categories_apart() -> None:
    found = by_category([rating(1, 1, 8), rating(1, 2, 6), rating(2, 1, 3, "stem"), rating(3, 1, None, "coding")])
    assert {name: score.score.value for name, score in found.items()} == {"math": 7, "stem": 3}


def test_what_gives_no_score_is_refused() -> None:
    with pytest.raises(ValueError, match="no rating"):
        score_of([rating(1, 1, None)])
    with pytest.raises(ValueError, match="question 1, turn 1: rated twice"):
        score_of([rating(1, 1, 3), rating(1, 1, 4)])


def test_the_real_questions_have_known_categories_and_references_where_needed() -> None:
    questions = [json.loads(line) for line in real("eval/mt_bench.jsonl").read_text().splitlines()]
    assert {each["category"] for each in questions} == set(TEMPERATURES)
    with_reference = {each["category"] for each in questions if each.get("reference_gpt4")}
    assert with_reference == set(REFERENCE_CATEGORIES)
