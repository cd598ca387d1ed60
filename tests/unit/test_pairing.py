"""From scored answers to pairs: every candidate is kept or counted under one reason."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfboost.methods.parts.pairing import PairFilter, answer_fault, best_and_worst, pick
from selfboost.records import Answer, Origin, Pair, user_prompt
from selfboost.statistics import repeated_share

PROMPT = user_prompt("Say something.", Origin(source="seed"))
REASONS = {
    "kept",
    "failed answer",
    "empty answer",
    "chosen answer cut at the token limit",
    "chosen equals rejected",
    "repetitive",
    "without a score",
    "score gap below the threshold",
}


def answer(text: str, **fields: Any) -> Answer:
    ids = tuple(text.encode())
    return Answer(prompt=PROMPT, text=text, prompt_ids=(1,), **{"token_ids": ids, "finish": "stop"} | fields)


def pair(chosen: Answer, rejected: Answer, scores: tuple[float | None, float | None] = (1.0, 0.0)) -> Pair:
    return Pair(
        iteration=1,
        prompt=PROMPT,
        prompt_ids=(1,),
        chosen=chosen,
        rejected=rejected,
        chosen_score=scores[0],
        rejected_score=scores[1],
    )


GOOD, BAD = answer("A good answer."), answer("A bad answer.")
REPEATED = answer("again and again and " * 10)


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (pair(GOOD, BAD), "kept"),
        (pair(GOOD, BAD, (0.5, 0.0)), "kept"),
        (pair(GOOD, BAD, (0.49, 0.0)), "score gap below the threshold"),
        (pair(GOOD, BAD, (0.0, 1.0)), "score gap below the threshold"),
        (pair(GOOD, BAD, (None, 1.0)), "without a score"),
        (pair(GOOD, BAD, (1.0, None)), "without a score"),
        (pair(GOOD, replace(GOOD, seed=7)), "chosen equals rejected"),
        (pair(answer(" \n"), BAD), "empty answer"),
        (pair(GOOD, answer("", token_ids=())), "empty answer"),
        (pair(GOOD, answer("", token_ids=(), finish="failed")), "failed answer"),
        (pair(replace(GOOD, finish="length"), BAD), "chosen answer cut at the token limit"),
        (pair(GOOD, replace(BAD, finish="length")), "kept"),
        (pair(REPEATED, BAD), "repetitive"),
        (pair(GOOD, REPEATED), "repetitive"),
    ],
)
def test_each_reason(candidate: Pair, reason: str) -> None:
    kept, counts = PairFilter().keep([candidate], threshold=0.5)
    assert counts == {"candidates": 1, reason: 1}
    assert kept == ([candidate] if reason == "kept" else [])


def test_the_settings_open_the_filter() -> None:
    cut = pair(replace(REPEATED, finish="length"), BAD, (0.0, 9.0))
    kept, _ = PairFilter(keep_cut=True, max_repetition=1.0, threshold=-10.0).keep([cut], threshold=5.0)
    assert kept == [cut]


texts = st.sampled_from(["A good answer.", "A bad answer.", "no no no no no no no no", " ", "", "Eh."])
answers = st.builds(
    lambda text, finish: answer(text, finish=finish), texts, st.sampled_from(["stop", "length", "failed", "given"])
)
scores = st.none() | st.floats(-2, 2)


@given(
    st.lists(st.builds(pair, answers, answers, st.tuples(scores, scores)), max_size=30),
    st.floats(-1, 1),
    st.booleans(),
)
def test_every_candidate_is_counted_once_and_what_is_kept_is_fit(
    candidates: list[Pair], threshold: float, keep_cut: bool
) -> None:
    chosen = PairFilter(keep_cut=keep_cut)
    kept, counts = chosen.keep(candidates, threshold)
    assert counts.keys() <= REASONS | {"candidates"}
    assert sum(count for reason, count in counts.items() if reason != "candidates") == len(candidates)
    assert counts.get("candidates", 0) == len(candidates)
    assert counts.get("kept", 0) == len(kept)
    left = iter(candidates)
    assert all(any(candidate is one for candidate in left) for one in kept), "kept pairs stay in their order"
    for one in kept:
        assert one.gap is not None
        assert one.gap >= threshold
        assert one.chosen.token_ids != one.rejected.token_ids
        for side in (one.chosen, one.rejected):
            assert not answer_fault(side)
            assert repeated_share(side.text.split()) <= chosen.max_repetition
        assert keep_cut or one.chosen.finish != "length"


@given(st.lists(scores, max_size=8))
def test_best_and_worst_are_the_extremes(values: list[float | None]) -> None:
    known = [value for value in values if value is not None]
    found = best_and_worst([None, *values], range(1, len(values) + 1))
    if len(known) < 2:
        assert found is None
        return
    assert found is not None
    best, worst = found
    assert (values[best - 1], values[worst - 1]) == (max(known), min(known))
    assert best - 1 == values.index(max(known))
    assert worst - 1 == values.index(min(known))


@given(st.integers(0, 30), st.integers(1, 40), st.integers(0, 5))
def test_a_pick_is_a_sample_without_repetition_in_order(size: int, count: int, seed: int) -> None:
    pairs = [pair(answer(f"chosen {i}"), BAD) for i in range(size)]
    picked = pick(pairs, count, seed)
    places = [pairs.index(one) for one in picked]
    assert len(picked) == min(count, size)
    assert places == sorted(set(places))
    assert picked == pick(pairs, count, seed)


def test_every_pair_is_as_likely_picked_as_another() -> None:
    pairs = [pair(answer(f"chosen {i}"), BAD) for i in range(10)]
    drawn = [one.id for seed in range(600) for one in pick(pairs, 3, seed)]
    shares = [drawn.count(one.id) / 600 for one in pairs]
    assert all(0.22 < share < 0.38 for share in shares)


def test_a_pair_knows_its_gap() -> None:
    shuffle = random.Random(0)
    high, low = shuffle.random(), shuffle.random()
    assert pair(GOOD, BAD, (high, low)).gap == high - low
    assert pair(GOOD, BAD, (None, low)).gap is None
