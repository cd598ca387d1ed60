"""Whether a prompt is new: repetitions, near-duplicates, and prompts near those that results are reported on."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfboost.prompts.novelty import Novelty, NoveltyRule, copied, jaccard, runs
from selfboost.statistics import words_of

WORDS = [f"word{i}" for i in range(400)]
TEXT = "Write a short letter to a neighbour who keeps bees and ask how many jars of honey one hive gives"


def novelty(rule: NoveltyRule | None = None, seeds: tuple[str, ...] = (), **measured: str) -> Novelty:
    return Novelty(
        rule or NoveltyRule(),
        [(seed, "equals a seed prompt") for seed in seeds],
        {text: name for name, text in measured.items()},
    )


def changed(text: str, count: int) -> str:
    """The text with its last `count` words replaced."""
    return " ".join([*text.split()[:-count], *WORDS[:count]])


def test_what_was_there_is_named_by_where() -> None:
    known = novelty(seeds=(TEXT,), held_out="What is the capital of Peru?")
    assert known.objection(TEXT) == "equals a seed prompt"
    assert known.objection("What is the capital of Peru?") == "equals a held_out prompt"
    known.remember("Quite another thing to ask")
    assert known.objection("Quite another thing to ask") == "duplicate"
    assert known.objection("Name three rivers.") == ""


@pytest.mark.parametrize(("words", "similarity"), [(1, 16 / 18), (2, 15 / 19), (3, 14 / 20), (4, 13 / 21)])
def test_near_duplicates_are_those_whose_jaccard_similarity_reaches_the_threshold(
    words: int, similarity: float
) -> None:
    """The similarity is worked out by hand; the threshold just below it drops, just above keeps."""
    assert len(TEXT.split()) == 19 + 1 - 1 + 1
    other = changed(TEXT, words)
    own, others = set(runs(words_of(TEXT), 3)), set(runs(words_of(other), 3))
    assert jaccard(own, others) == pytest.approx((18 - words) / (18 + words))
    exact = jaccard(own, others)
    for threshold, expected in ((exact - 0.01, "near-duplicate"), (exact + 0.01, "")):
        known = novelty(NoveltyRule(similarity=threshold), seeds=(TEXT,))
        assert known.objection(other) == expected
    del similarity


def test_case_spaces_and_punctuation_make_no_new_prompt() -> None:
    assert novelty(seeds=(TEXT,)).objection(TEXT.upper().replace(" ", "  ") + "!!") == "near-duplicate"
    assert novelty(NoveltyRule(similarity=1), seeds=(TEXT,)).objection(TEXT.upper()) == ""


@given(st.integers(0, 2**32))
def test_texts_of_other_words_are_never_near(seed: int) -> None:
    draw = random.Random(seed)
    known = novelty(seeds=tuple(" ".join(draw.choices(WORDS[:200], k=12)) for _ in range(5)))
    assert known.objection(" ".join(draw.choices(WORDS[200:], k=12))) == ""


def test_few_near_duplicates_slip_through() -> None:
    """MinHash is a chance: of texts that share nine tenths of their n-grams, nearly all must be found."""
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=60)) for _ in range(300)]
    known = novelty(seeds=tuple(texts))
    found = sum(known.objection(changed(text, 2)) == "near-duplicate" for text in texts)
    assert found >= 298


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Please: {' '.join(TEXT.split()[:8])} today", "shares words with a held_out prompt"),
        (f"Please: {' '.join(TEXT.split()[:7])} today", ""),
        ("what is two and two", "shares words with a validation prompt"),
        ("What is two and two and three?", ""),
    ],
)
def test_a_run_of_words_of_a_measured_prompt_is_enough(text: str, expected: str) -> None:
    """A measured prompt shorter than the run counts where it is the whole text, however it is written."""
    known = novelty(held_out=TEXT, validation="What is two and two?")
    assert known.objection(text) == expected


def test_with_no_shared_words_only_equal_measured_prompts_are_dropped() -> None:
    known = novelty(NoveltyRule(shared_words=0, similarity=1), held_out=TEXT)
    assert known.objection(TEXT) == "equals a held_out prompt"
    assert known.objection(TEXT + " please") == ""


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_can_be_asked_about(one: str, other: str) -> None:
    known = novelty(seeds=(one,))
    assert known.objection(one) == "equals a seed prompt"
    known.remember(other)
    assert known.objection(other) != ""


def test_a_copy_of_the_template_is_told_from_a_question() -> None:
    template = "Design one question together with its solution, starting from the given keywords: {keywords}"
    assert copied("the given keywords", template, 8)
    assert copied("Why? Design one question together with its solution, starting from bees", template, 8)
    assert not copied("Design one question together with bees", template, 8)
    assert not copied("", template, 8)
