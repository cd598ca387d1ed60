"""The demo world: its checks are strict, its texts survive the tokenizer, and its lists of prompts never overlap."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import selfboost.demo
from selfboost.demo import templates
from selfboost.demo.checks import FAMILIES, check, read
from selfboost.demo.sloppiness import Sloppiness
from selfboost.demo.splits import HELD_OUT_SIZE, SEED_SIZE, VALIDATION_SIZE, draw_splits
from selfboost.demo.stream import Stream, keywords_of
from selfboost.demo.task import Family

ASSETS = Path(selfboost.demo.__file__).parent / "assets"
SPLITS = {"seed": SEED_SIZE, "validation": VALIDATION_SIZE, "held_out": HELD_OUT_SIZE}
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
WORDS = """the a which number is larger smaller : 16 9 or ? compare and than reverse words fox apple HAMMER pick first
list two fruits but not tom has red . who say times capitals { } ( * </question> count in sort from low to high"""
world_words = st.lists(st.sampled_from(WORDS.split()), max_size=20).map(" ".join)


def lines(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (ASSETS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@every_family
def test_gold_answers_pass_and_mistakes_fail(family: Family) -> None:
    rng = Random(7)
    for _ in range(150):
        prompt = family.ask(rng)
        task = read(prompt)
        assert task is not None
        assert task.family == family.name
        gold = task.gold(rng)
        assert check(prompt, gold) is True
        assert check(f"  {prompt} ", f" {gold}\n") is True, "spaces around a text do not matter"
        for wrong in (
            task.slip(rng, gold),
            task.habit(gold),
            "",
            f"{gold} {gold}",
            f"{gold} fox",
            gold.split()[0][:-1],
        ):
            assert check(prompt, wrong) is False, (prompt, wrong)


@every_family
def test_each_family_has_many_prompts(family: Family) -> None:
    rng = Random(3)
    assert len({family.ask(rng) for _ in range(2000)}) > 800


@pytest.mark.parametrize(
    ("prompt", "answer", "verdict"),
    [
        ("which number is larger : 16 or 9 ?", "16 is larger than 9", True),
        ("which number is larger : 16 or 9 ?", "16 is larger than 16", False),
        ("which number is larger : 16 or 9 ?", "9 is smaller than 16", False),
        ("which number is larger : 16 or 16 ?", "16 is larger than 16", None),
        ("list two fruits but not plum .", "apple , pear", True),
        ("list two fruits but not plum .", "apple , apple", False),
        ("list two fruits but not plum .", "apple , plum", False),
        ("list two fruits but not plum .", "apple , pear , lemon", False),
        ("list two fruits but not hammer .", "apple , pear", None),
        ("write a sentence with fox and lake .", "the lake is near the fox .", True),
        ("write a sentence with fox and lake .", "the fox is near the fox .", False),
        ("write a sentence with fox and fox .", "the fox is near the fox .", None),
        ("which is the odd one : fox dog apple pear ?", "apple", None),
        ("count the birds : fox apple", "0 birds", True),
        ("keep only the birds : fox apple", "", None),
        ("reverse the words : fox fox cat", "cat fox fox", True),
        ("replace fox with cat : fox cow fox", "cat cow cat", True),
        ("replace fox with cat : fox cow fox", "cat cow fox", False),
        ("tom has a red hat . tom has a blue coat . what does tom have ?", "a red hat", None),
        ("tom has a red hat . anna has a blue coat . who has the coat ?", "anna has the coat", True),
        ("tom has a red hat . anna has a blue coat . who has the boat ?", "anna has the boat", None),
        ("tell me a story", "no", None),
        ("", "", None),
    ],
)
def test_strictness(prompt: str, answer: str, verdict: bool | None) -> None:
    assert check(prompt, answer) is verdict


@given(st.one_of(st.text(), world_words), st.one_of(st.text(), world_words))
def test_checks_survive_any_text(prompt: str, answer: str) -> None:
    assert check(prompt, answer) in (True, False, None)


def test_checks_do_not_need_torch() -> None:
    code = "import sys, selfboost.demo.checks; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_splits_are_rebuilt_exactly_and_disjoint() -> None:
    splits = draw_splits(0)
    for name, size in SPLITS.items():
        stored = [(record["prompt"], record["response"]) for record in lines(name)]
        assert stored == getattr(splits, name)
        assert len(stored) == size
        assert all(check(prompt, response) for prompt, response in stored)
    assert len(splits.reserved) == sum(SPLITS.values())


def test_the_first_prompts_of_every_list_cover_all_families() -> None:
    for name in SPLITS:
        counts = Counter(read(record["prompt"]).family for record in lines(name)[: len(FAMILIES)])  # type: ignore[union-attr]
        assert set(counts) == {family.name for family in FAMILIES}


def test_paragraphs_offer_three_keywords_and_no_reserved_prompt() -> None:
    paragraphs = [record["text"] for record in lines("paragraphs")]
    reserved = draw_splits(0).reserved
    assert len(paragraphs) >= 3000
    assert all(len(keywords_of(text)) >= 3 for text in paragraphs)
    assert not any(prompt in text for text in paragraphs[:300] for prompt in reserved)


def test_the_stream_avoids_reserved_prompts_and_mixes_right_with_wrong() -> None:
    reserved = draw_splits(0).reserved
    exchanges = Stream(reserved=reserved).exchanges(Random(0), share=1.0)
    verdicts = Counter[bool | None]()
    for _, exchange in zip(range(2000), exchanges, strict=False):
        assert exchange.given not in reserved
        verdicts[check(exchange.given, exchange.reply)] += 1
    assert 0.25 < verdicts[True] / (verdicts[True] + verdicts[False]) < 0.75


def test_no_sloppiness_at_share_zero() -> None:
    rng, sloppiness = Random(0), Sloppiness()
    for prompt, gold in draw_splits(0).validation:
        task = read(prompt)
        assert task is not None
        assert sloppiness.answer(rng, task, gold, share=0.0) == gold
        assert sloppiness.rewrite(rng, task, gold, "a draft", share=0.0) == gold


def test_templates_are_single_lines_with_their_fields() -> None:
    assert "\n" not in templates.GENERATOR_TEMPLATE + templates.REWRITE_TEMPLATE + templates.GENERATOR_TARGET
    assert templates.GENERATOR_TEMPLATE.format(keywords="fox") != templates.GENERATOR_TEMPLATE
    assert "fox" in templates.REWRITE_TEMPLATE.format(prompt="fox", answer="dog")


def test_assets_are_small() -> None:
    assert sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()) < 15_000_000
