"""Keywords of made-up and of real text, and the pool of keyword lists."""

import gzip
import hashlib
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

import real_data
from selfboost.data.paragraphs import read_paragraphs
from selfboost.prompts import keywords as module
from selfboost.prompts.keywords import (
    KeywordPool,
    KeywordRule,
    cached_pool,
    extract_keywords,
    has_lists,
    keyword_pool,
    keywords_of_each,
    read_pool,
    training_list,
)
from selfboost.prompts.stop_words import STOP_WORDS

DATA = real_data.DATA / "corpus"
EMBEDDED = Path(__file__).parents[2] / "src" / "selfboost" / "demo" / "assets"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write a story about a dragon who cannot fly.", ["write", "story", "dragon", "fly"]),
        ("put apron and orchid in one sentence .", ["apron", "orchid", "sentence"]),
        ("The cat saw the CAT; the cat's hat.", ["cat", "saw", "hat"]),
        ("Don't say it\u2019s what I'd, we'll or they've done", ["done"]),
        ("Where did Marie Curie study physics?", ["study", "physics"]),
        ("Paris is rainy. Many paint Paris.", ["rainy", "paint"]),
        ("Apples are red. Every day he eats Apples or apples.", ["apples", "red", "eats"]),
        ("Explain how NASA uses SQL", ["explain", "nasa", "sql"]),
        ("EXPLAIN GRAVITY", ["explain", "gravity"]),
        ("1. Bake bread\n2. Slice it", ["bake", "bread", "slice"]),
        ('He said: "Bread is well-known."', ["bread", "well-known"]),
        ("na\u00efve caf\u00e9 owners", ["na\u00efve", "caf\u00e9", "owners"]),
        ("sort 3 , 14 , 1,500 and 2.5", ["sort"]),
        ("the family quickly ate jelly, usually friendly", ["family", "ate", "jelly", "friendly"]),
        ("Amanda Lenhart draws. Sandy's bowl fell. Dr. Weller bonds teeth.", ["draws", "bowl", "bonds", "teeth"]),
        ("by J. K. Rowling, a van Dieren song and Mr. Baker", ["song"]),
        ("a to of it", []),
        ("", []),
    ],
)
def test_the_keywords_are_the_words_of_content(text: str, expected: list[str]) -> None:
    assert extract_keywords(text) == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("de", "Gestern traf Herr M\u00fcller die \u00c4rztin in der Stadt.", ["traf", "\u00e4rztin", "stadt"]),
        ("de", "Der Haushalt, sagte Angela Merkel, und Merkel lachte.", ["haushalt", "lachte"]),
        ("fr", "L\u2019homme qui habite \u00e0 Paris n\u2019aime pas l'eau.", ["homme", "habite", "aime", "eau"]),
        (
            "es",
            "El se\u00f1or Garc\u00eda viaj\u00f3 a Madrid para comprar naranjas.",
            ["viaj\u00f3", "comprar", "naranjas"],
        ),
        ("it", "Nell'acqua dei fiumi il signor Rossi cerca l'oro.", ["acqua", "fiumi", "cerca", "oro"]),
        (
            "pt",
            "A professora Ana ensinou matem\u00e1tica aos alunos.",
            ["professora", "ensinou", "matem\u00e1tica", "alunos"],
        ),
        ("nl", "De heer Jansen kocht een fiets en foto's van molens.", ["kocht", "fiets", "foto", "molens"]),
    ],
)
def test_every_language_has_its_rule(language: str, text: str, expected: list[str]) -> None:
    assert extract_keywords(text, KeywordRule(language=language)) == expected


def test_german_cannot_tell_a_noun_before_a_name_nor_a_lone_name() -> None:
    german = KeywordRule(language="de")
    assert extract_keywords("Heute sprach Kanzlerin Merkel.", german) == ["sprach"]
    assert extract_keywords("Heute sprach Merkel.", german) == ["sprach", "merkel"]


def test_names_numbers_and_short_words_are_kept_when_asked() -> None:
    assert extract_keywords("Where did Marie live?", KeywordRule(keep_names=True)) == ["marie", "live"]
    numbers = extract_keywords("sort 3 , 14 , 1,500 and 2.5", KeywordRule(keep_numbers=True))
    assert numbers == ["sort", "3", "14", "1,500", "2.5"]
    assert extract_keywords("an ox ate hay", KeywordRule(shortest=2)) == ["ox", "ate", "hay"]
    assert extract_keywords("an ox ate hay", KeywordRule(shortest=4)) == []


RULES = st.builds(
    KeywordRule,
    language=st.sampled_from(sorted(STOP_WORDS)),
    keep_names=st.booleans(),
    keep_numbers=st.booleans(),
    most=st.integers(0, 3),
    shortest=st.integers(1, 5),
)
TOKENS = "Dr. Ada van Weber 7 2,000 Oil oil pipe the not, l'eau so. Rain-coat A"
SENTENCES = st.lists(st.sampled_from(TOKENS.split()))
ANY_TEXT = st.one_of(st.text(), SENTENCES.map(" ".join))


@given(ANY_TEXT, RULES)
def test_keywords_of_any_text_are_distinct_lower_case_and_no_stop_words(text: str, rule: KeywordRule) -> None:
    found = extract_keywords(text, rule)
    assert len(set(found)) == len(found)
    assert not STOP_WORDS[rule.language] & set(found)
    assert all(word == word.lower() and " " not in word for word in found)
    assert all(len(word) >= rule.shortest for word in found if not word[0].isdecimal())
    assert rule.keep_numbers or not any(character.isdecimal() for word in found for character in word)
    everything = KeywordRule(language=rule.language, keep_names=True, keep_numbers=True, shortest=1)
    assert set(found) <= set(extract_keywords(text, everything))


@given(st.lists(ANY_TEXT, max_size=9), RULES)
def test_the_heaviest_words_are_some_of_all_in_their_order(texts: list[str], rule: KeywordRule) -> None:
    found = list(keywords_of_each(iter(texts), rule))
    assert len(found) == len(texts)
    for text, keywords in zip(texts, found, strict=True):
        words = extract_keywords(text, rule)
        assert keywords == [word for word in words if word in set(keywords)]
        assert len(keywords) == (min(rule.most, len(words)) if rule.most else len(words))


def test_tf_idf_is_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    shuffle = random.Random(3)
    vocabulary = [a + b + c for a, b, c in itertools.product("bdk", "aeo", "mnrt")]
    texts = [" ".join(shuffle.choices(vocabulary, weights=range(1, 37), k=25)) for _ in range(60)]
    monkeypatch.setattr(module, "COUNTED", 40)
    within = Counter(word for text in texts[:40] for word in set(text.split()))

    def weight(word: str, text: str) -> float:
        return (1 + math.log(text.split().count(word))) * math.log((1 + 40) / max(1, within[word]))

    for text, found in zip(texts, keywords_of_each(texts, KeywordRule(most=4)), strict=True):
        words = [word for word in extract_keywords(text) if word not in found]
        assert len(found) == 4
        assert min(weight(word, text) for word in found) >= max(weight(word, text) for word in words)


def test_words_that_a_tenth_of_many_texts_have_are_dropped() -> None:
    texts = [f"click word{a}{b}" + " rare" * (a + b == "aa") for a, b in itertools.product("abcdefghij", repeat=2)]
    assert all("click" not in found for found in keywords_of_each(texts, KeywordRule(most=3)))
    assert all("click" in found for found in keywords_of_each(texts[:99], KeywordRule(most=3)))
    assert all("click" in found for found in keywords_of_each(texts, KeywordRule()))


def test_texts_are_read_once_and_no_further_than_asked() -> None:
    taken: list[int] = []

    def texts() -> Iterator[str]:
        for i in range(100):
            taken.append(i)
            yield f"alpha beta gamma word{'abcdefghij'[i % 10]}"

    list(itertools.islice(keywords_of_each(texts(), KeywordRule()), 5))
    assert taken == list(range(5))


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


PARAGRAPHS = st.lists(st.lists(st.sampled_from("abcdef"), unique=True, min_size=2).map(" ".join), min_size=1)


@given(PARAGRAPHS, st.integers(0, 9))
def test_every_list_there_is_can_be_drawn_and_no_more(paragraphs: list[str], seed: int) -> None:
    pool = KeywordPool(paragraphs=paragraphs, words=2)
    all_lists = {frozenset(pair) for each in paragraphs for pair in itertools.combinations(each.split(), 2)}
    assert {frozenset(words) for words in pool.draw(len(all_lists), seed)} == all_lists
    assert len(all_lists) <= pool.capacity
    with pytest.raises(ValueError, match=rf"give (only|at most) {len(all_lists)} different lists"):
        pool.draw(len(all_lists) + 1, seed)


def test_a_pool_that_cannot_give_enough_says_so() -> None:
    pool = KeywordPool(paragraphs=["one two three"])
    assert len(pool.draw(1, 0)) == 1
    with pytest.raises(ValueError, match="1 paragraphs give at most 1 different lists of 3 keywords, 2 are needed"):
        pool.draw(2, 0)
    with pytest.raises(ValueError, match="no text has 3 keywords to draw"):
        keyword_pool(["too short", ""])


@given(PARAGRAPHS, st.integers(0, 30))
def test_enough_texts_are_enough_and_too_few_are_named(texts: list[str], count: int) -> None:
    rule = KeywordRule(shortest=1, keep_names=True)
    texts = [text.replace("a", "g") for text in texts]  # "a" is a stop-word
    pool = keyword_pool(texts, rule, 2)
    there = len({frozenset(pair) for each in pool.paragraphs for pair in itertools.combinations(each.split(), 2)})
    if count > there:
        with pytest.raises(
            ValueError, match=rf"give (only {there}|at most \d+) different lists of 2 keywords, {count} are needed"
        ):
            has_lists(texts, rule, 2, count)
    else:
        found = has_lists(texts, rule, 2, count)
        assert len(found.draw(count, 1)) == count
        assert list(found.paragraphs) == list(pool.paragraphs)[: len(found.paragraphs)]


def test_no_more_texts_are_read_than_surely_give_enough() -> None:
    assert len(has_lists(TEXTS, KeywordRule(), 3, 20).paragraphs) == 2  # 5 keywords give 10 lists
    assert len(has_lists(itertools.cycle(TEXTS), KeywordRule(), 3, 21).paragraphs) == 3


@given(PARAGRAPHS)
def test_a_stored_pool_is_the_pool(tmp_path_factory: pytest.TempPathFactory, paragraphs: list[str]) -> None:
    path = tmp_path_factory.mktemp("pool") / "deep" / "pool.txt.gz"
    pool = KeywordPool(paragraphs=[*paragraphs, "\u00fcber \u6c34", "1,500 2.5"], words=2)
    pool.save(path)
    assert read_pool(path) == pool
    first = path.read_bytes()
    pool.save(path)
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["pool.txt.gz"]


def test_damage_to_a_stored_pool_is_found(tmp_path: Path) -> None:
    path = tmp_path / "pool.txt.gz"
    KeywordPool(paragraphs=["a b c", "d e f g"]).save(path)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="keyword pool"):
            read_pool(path)
    for text in ("3 2\na b c\n", "3 1\na b\n", "x\n", "0 1\na\n", "3\na b c\n", "3 1 1\na b c\n"):
        path.write_bytes(gzip.compress(text.encode()))
        with pytest.raises(ValueError, match="keyword pool"):
            read_pool(path)


def test_a_pool_is_built_once_for_each_rule_and_source(tmp_path: Path) -> None:
    built: list[str] = []

    def pool(name: str, rule: KeywordRule = module.ALL_CONTENT_WORDS, words: int = 3) -> KeywordPool:
        def texts() -> Iterator[str]:
            built.append(name)
            return iter(TEXTS)

        return cached_pool(texts, rule, words, tmp_path / "pools", {"source": name, "limit": 0})

    assert pool("a") == pool("a") == keyword_pool(TEXTS)
    assert built == ["a"]
    pool("b"), pool("a", KeywordRule(most=4)), pool("a", words=2), pool("b")
    assert built == ["a", "b", "a", "a"]
    files = sorted((tmp_path / "pools").iterdir())
    assert len(files) == 4
    assert all(file.name.startswith("keywords-") and file.name.endswith(".txt.gz") for file in files)
    for file in files:
        file.write_bytes(file.read_bytes()[:-9])
    assert pool("a") == keyword_pool(TEXTS)
    assert built == ["a", "b", "a", "a", "a"]


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


@pytest.mark.skipif(not (EMBEDDED / "paragraphs.jsonl").exists(), reason="the embedded texts are not built yet")
def test_the_embedded_paragraphs_give_the_lists_that_published_figures_rest_on() -> None:
    rule = KeywordRule(keep_numbers=True)
    lists = keyword_pool(read_paragraphs(EMBEDDED / "paragraphs.jsonl"), rule).draw(6000, 0)
    assert hashlib.sha256(json.dumps(lists).encode()).hexdigest()[:16] == "e95419838f27fc51"
    seeds = [json.loads(line)["prompt"] for line in (EMBEDDED / "seed.jsonl").read_text().splitlines()]
    found = [extract_keywords(prompt, rule) for prompt in seeds]
    assert hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16] == "7617892252e79c79"
    assert sum(len(words) >= 2 for words in found) > 0.9 * len(seeds)


@pytest.mark.skipif(not DATA.is_dir(), reason="the real texts are not on this machine")
@pytest.mark.parametrize("name", ["c4_demo_300.jsonl.gz", "wiki_demo.jsonl.gz"])
def test_real_paragraphs_give_keywords(name: str) -> None:
    texts = list(read_paragraphs(DATA / name))
    for rule in (KeywordRule(), KeywordRule(most=10)):
        pool = keyword_pool(texts, rule)
        assert len(pool.paragraphs) > 0.9 * len(texts)
        assert len(pool.draw(10 * len(texts), 0)) == 10 * len(texts)


@pytest.mark.parametrize("wrong", [{"language": "xx"}, {"most": -1}, {"shortest": 0}, {"keep_names": "perhaps"}])
def test_a_rule_of_a_recipe_is_checked(wrong: dict[str, object]) -> None:
    adapter = TypeAdapter(KeywordRule)
    assert adapter.validate_python({"language": "de", "most": 10}) == KeywordRule(language="de", most=10)
    with pytest.raises(ValidationError):
        adapter.validate_python(wrong)
