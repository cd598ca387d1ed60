"""Measures of prompts: each equals a plain reference or holds at its ends; neither order nor process matters."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfboost.prompts import diversity
from selfboost.prompts.diversity import (
    entropy_bits,
    equal_draws,
    group_vectors,
    intention,
    keyword_coverage,
    likeness,
    mean_similarities,
    nearest_overlaps,
    tf_idf,
    topics,
    words_of,
)

TEXT = st.lists(st.sampled_from("a b c d e ? Zürich".split()), max_size=9).map(" ".join)  # noqa: SIM905
TEXTS = st.lists(TEXT, min_size=2, max_size=8)


def plain_vectors(texts: list[str]) -> np.ndarray:
    words = sorted({word for text in texts for word in words_of(text)}) or ["none"]
    found = np.array([[words_of(text).count(word) for word in words] for text in texts], dtype=float)
    weighed = found * (np.log((1 + len(texts)) / (1 + (found > 0).sum(axis=0))) + 1)
    norms = np.linalg.norm(weighed, axis=1, keepdims=True)
    return weighed / np.where(norms > 0, norms, 1)


def longest_common(one: list[str], other: list[str]) -> int:
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(TEXTS, TEXTS)
def test_similarities_are_those_of_plain_vectors(texts: list[str], others: list[str]) -> None:
    vectors, plain = tf_idf(texts + others), plain_vectors(texts + others)
    cosines = plain[: len(texts)] @ plain[: len(texts)].T
    np.fill_diagonal(cosines, 0)
    assert mean_similarities(vectors[: len(texts)]) == pytest.approx(cosines.sum(axis=1) / (len(texts) - 1), abs=1e-12)
    across = plain[: len(texts)] @ plain[len(texts) :].T
    assert mean_similarities(vectors[: len(texts)], vectors[len(texts) :]) == pytest.approx(across.mean(axis=1))


def test_equal_texts_are_wholly_alike_and_texts_without_a_common_word_not_at_all() -> None:
    vectors = tf_idf(["count to ten", "Count to ten!", "name a fruit", "..."])
    assert mean_similarities(vectors[:2]) == pytest.approx([1, 1])
    assert mean_similarities(vectors[:1], vectors[2:3]) == [0]
    assert mean_similarities(vectors[3:], vectors) == [0]


@given(TEXTS, TEXTS)
def test_the_nearest_seed_is_the_nearest_of_all(texts: list[str], seeds: list[str]) -> None:
    expected = []
    for text in texts:
        own, scores = words_of(text), [0.0]
        for seed in seeds:
            other = words_of(seed)
            if seed != text and own and other:
                scores.append(2 * longest_common(own, other) / (len(own) + len(other)))
        expected.append(max(scores))
    assert nearest_overlaps(texts, seeds) == pytest.approx(expected)


def test_rouge_l_of_a_known_pair() -> None:
    """`the cat sat` and `the cat on the mat sat down`: 3 words in common in order, 3 + 7 words."""
    assert nearest_overlaps(["the cat sat"], ["the cat on the mat sat down"]) == [0.6]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write a poem.", "write"),
        ("Please could you EXPLAIN why it rains?", "explain"),
        ("Could you explain why?", "explain"),
        ("Can dogs see colours?", "can"),
        ("is it raining ?", "is"),
        ("In what year did it start?", "what"),
        ("Given the text below, summarize it.", "summarize"),
        ("apple pear plum", "other"),
        ("", "other"),
        ("did", "other"),
    ],
)
def test_an_intention_is_the_first_verb_or_question_word(text: str, expected: str) -> None:
    assert intention(text) == expected


@given(st.lists(st.integers(0, 50), min_size=1).filter(any))
def test_entropy_lies_between_one_thing_and_all_alike(counts: list[int]) -> None:
    kinds = sum(count > 0 for count in counts)
    assert -1e-12 <= entropy_bits(counts) <= math.log2(kinds) + 1e-9
    assert entropy_bits([7] * 8) == pytest.approx(3)
    assert entropy_bits([9, 0]) == 0


def test_keywords_are_held_as_words_whatever_their_case() -> None:
    assert keyword_coverage("Compare the C++ river-bank, please", ["river-bank", "C++", "COMPARE"]) == 1
    assert keyword_coverage("rivers and banks", ["river", "bank", "and", "s"]) == 0.25


def test_topics_are_found_where_there_are_some() -> None:
    """Three vocabularies without a common word are three clusters, however the texts are mixed and grouped."""
    kinds = [["red", "blue", "green"], ["river", "lake", "sea"], ["piano", "violin", "drum"]]
    texts = [f"{kinds[i % 3][i % 2]} {kinds[i % 3][2]} {kinds[i % 3][i // 3 % 3]}" for i in range(60)]
    vectors = tf_idf(texts)
    labels = topics([vectors[:25], vectors[25:]], 3)
    assert len(labels) == 60
    assert {len({labels[i] for i in range(60) if i % 3 == kind}) for kind in range(3)} == {1}
    assert len(set(labels)) == 3
    assert labels == topics([vectors], 3)
    assert set(topics([tf_idf(["same"] * 5)], 3)) == {0}


def test_groups_are_drawn_at_one_size_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diversity, "MOST", 40)
    groups = {"large": [f"a {i}" for i in range(100)], "middle": [f"b {i}" for i in range(30)] * 2, "few": ["c"] * 99}
    drawn = equal_draws(groups)
    assert {name: len(set(texts)) for name, texts in drawn.items()} == {"large": 30, "middle": 30}
    assert drawn == equal_draws({name: reversed(texts) for name, texts in groups.items()})
    assert len(equal_draws({"large": groups["large"]})["large"]) == 40


def test_a_group_is_as_like_the_reference_as_its_vectors_say() -> None:
    drawn = {"seed": ["name a fruit", "name a bird"], "new": ["name a fruit today", "count to ten"]}
    vectors = group_vectors(drawn)
    alike = likeness(drawn, vectors, "seed")
    assert vectors["new"].shape[0] == 2
    assert not alike["seed"].to_reference
    assert alike["new"].to_reference == mean_similarities(vectors["new"], vectors["seed"])
    assert alike["new"].to_reference[1] == 0 < alike["new"].to_reference[0]
    assert likeness({"new": drawn["new"]}, vectors | {"seed": None}, "elsewhere")["new"].to_reference == ()


def test_instructing_verbs_are_single_words_and_no_auxiliaries() -> None:
    listed = Counter(diversity.INSTRUCTIONS.split())
    assert max(listed.values()) == 1
    assert not listed.keys() & (diversity.OPENING | set(diversity.QUESTION_WORDS.split()))
    assert all(words_of(word) == [word] for word in listed)
