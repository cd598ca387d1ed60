"""Keywords of made-up and of real text, and the pool of keyword lists."""

import gzip
import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfboost.keywords import STOP_WORDS, KeywordPool, extract_keywords, keyword_pool, read_paragraphs, training_list

DATA = Path(os.environ.get("SELFBOOST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "corpus"
EMBEDDED = Path(__file__).parents[2] / "src" / "selfboost" / "demo" / "assets"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write a story about a dragon who cannot fly.", ["write", "story", "dragon", "fly"]),
        ("put apron and orchid in one sentence .", ["apron", "orchid", "sentence"]),
        ("The cat saw the CAT; the cat's hat.", ["cat", "saw", "hat"]),
        ("Don't say it\u2019s what I'd, we'll or they've done", ["done"]),
        ("Where did Marie Curie study physics?", ["study", "physics"]),
        ("Paris is large. Many love Paris.", ["large", "love"]),
        ("Apples are red. Every day he eats Apples or apples.", ["apples", "red", "day", "eats"]),
        ("Explain how NASA uses SQL", ["explain", "nasa", "sql"]),
        ("EXPLAIN GRAVITY", ["explain", "gravity"]),
        ("1. Bake bread\n2. Slice it", ["bake", "bread", "slice"]),
        ('He said: "Bread is well-known."', ["bread", "well-known"]),
        ("na\u00efve caf\u00e9 owners", ["na\u00efve", "caf\u00e9", "owners"]),
        ("sort 3 , 14 , 1,500 and 2.5", ["sort"]),
        ("a to of it", []),
        ("", []),
    ],
)
def test_the_keywords_are_the_words_of_content(text: str, expected: list[str]) -> None:
    assert extract_keywords(text) == expected


def test_names_and_numbers_are_kept_when_asked() -> None:
    assert extract_keywords("Where did Marie live?", keep_names=True) == ["marie", "live"]
    assert extract_keywords("sort 3 , 14 , 1,500 and 2.5", keep_numbers=True) == ["sort", "3", "14", "1,500", "2.5"]


@given(st.text(), st.booleans(), st.booleans())
def test_keywords_of_any_text_are_distinct_lower_case_and_no_stop_words(text: str, names: bool, numbers: bool) -> None:
    found = extract_keywords(text, keep_names=names, keep_numbers=numbers)
    assert len(set(found)) == len(found)
    assert not STOP_WORDS & set(found)
    assert all(word == word.lower() for word in found)
    assert numbers or not any(character.isdecimal() for word in found for character in word)
    assert set(found) <= set(extract_keywords(text, keep_names=True, keep_numbers=True))


TEXTS = [f"word{letter} " * 2 + f"alpha{letter} beta{letter} gamma{letter} delta{letter}" for letter in "abcdefgh"]


@given(st.integers(0, 32), st.integers())
def test_lists_are_of_one_paragraph_each_different_and_the_same_in_a_longer_draw(count: int, seed: int) -> None:
    pool = keyword_pool(TEXTS)
    drawn = pool.draw(count, seed)
    assert drawn == pool.draw(40, seed)[:count]
    assert len({frozenset(words) for words in drawn}) == count
    paragraphs = [set(extract_keywords(text)) for text in TEXTS]
    assert all(len(words) == 3 and any(set(words) <= each for each in paragraphs) for words in drawn)


def test_every_paragraph_gives_a_list_before_one_gives_two() -> None:
    drawn = keyword_pool(TEXTS).draw(len(TEXTS), 5)
    assert len({words[0][-1] for words in drawn}) == len(TEXTS)


def test_a_pool_that_cannot_give_enough_says_so() -> None:
    pool = KeywordPool(paragraphs=[["one", "two", "three"]])
    assert len(pool.draw(1, 0)) == 1
    with pytest.raises(ValueError, match="1 paragraphs give only 1 different lists of 3 keywords, 2 are wanted"):
        pool.draw(2, 0)
    with pytest.raises(ValueError, match="no text has 3 keywords to draw"):
        keyword_pool(["too short", ""])


def test_a_training_list_mixes_keywords_of_its_text_with_noise_of_others() -> None:
    keywords = [extract_keywords(text) for text in TEXTS]
    places = set()
    for i, own in enumerate(keywords):
        found = training_list(keywords, i, own=2, noise=1, shuffle=random.Random(i))
        assert len(set(found)) == 3
        assert len(set(found) & set(own)) == 2
        places.add(next(place for place, word in enumerate(found) if word not in own))
        assert found == training_list(keywords, i, own=2, noise=1, shuffle=random.Random(i))
    assert len(places) > 1


def test_a_training_list_has_no_noise_where_no_other_text_has_any() -> None:
    assert sorted(training_list([["a", "b"], ["b"], []], 0, shuffle=random.Random(0))) == ["a", "b"]


def test_paragraphs_come_from_plain_text_jsonl_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\nfirst line\nsecond line\n\n \nthird\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "fourth", "id": 1}\n\n{"text": "fifth"}\n', encoding="utf-8")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'\xef\xbb\xbf{"text": "sixth"}'))
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress(b"seventh\r\n\r\neighth"))
    (tmp_path / ".hidden").write_bytes(b"\xff")
    found = [text.strip() for text in read_paragraphs(tmp_path)]
    assert found == ["first line\nsecond line", "third", "fourth", "fifth", "sixth", "seventh", "eighth"]
    assert list(read_paragraphs(tmp_path / "b.jsonl")) == ["fourth", "fifth"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("p.jsonl", b'{"text": "a"}\n{"texts": "b"}', "line 2: must be an object with a text in the column text"),
        ("p.jsonl", b'{"text": 3}', "line 1: must be an object with a text"),
        ("p.jsonl", b"[1]", "line 1: must be an object with a text"),
        ("p.jsonl", b"{", "line 1: must be an object with a text"),
        ("p.txt", b"fine\n\n\xff", "is not UTF-8 text"),
        ("p.jsonl.gz", b"{}", "cannot be read"),
        ("p.txt.gz", gzip.compress(b"cut" * 99, mtime=0)[:-9], "cannot be read"),
    ],
)
def test_broken_paragraphs_are_named(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as raised:
        list(read_paragraphs(tmp_path / name))
    assert str(tmp_path / name) in str(raised.value)


def test_missing_paragraphs_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absent: no such file or folder of paragraphs"):
        list(read_paragraphs(tmp_path / "absent"))


@pytest.mark.skipif(not (EMBEDDED / "paragraphs.jsonl").exists(), reason="the embedded texts are not built yet")
def test_the_embedded_paragraphs_give_lists_for_a_whole_run() -> None:
    pool = keyword_pool(read_paragraphs(EMBEDDED / "paragraphs.jsonl"), keep_numbers=True)
    assert len(pool.draw(6000, 0)) == 6000
    seeds = [json.loads(line)["prompt"] for line in (EMBEDDED / "seed.jsonl").read_text().splitlines()]
    usable = [prompt for prompt in seeds if len(extract_keywords(prompt, keep_numbers=True)) >= 2]
    assert len(usable) > 0.9 * len(seeds)


@pytest.mark.skipif(not DATA.is_dir(), reason="the real texts are not on this machine")
@pytest.mark.parametrize("name", ["c4_demo_300.jsonl.gz", "wiki_demo.jsonl.gz"])
def test_real_paragraphs_give_keywords(name: str) -> None:
    texts = list(read_paragraphs(DATA / name))
    pool = keyword_pool(texts)
    assert len(pool.paragraphs) > 0.9 * len(texts)
    assert len(pool.draw(10 * len(texts), 0)) == 10 * len(texts)
