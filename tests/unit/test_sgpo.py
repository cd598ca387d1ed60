"""SGPO's other target, and what it refuses."""

from pathlib import Path

import pytest

from fake_recipes import run, write_recipe
from selfboost import store
from selfboost.methods.sgpo import SGPO
from selfboost.records import Example, Sampling


def test_the_improver_may_learn_gold_itself_with_one_sampling_less(tmp_path: Path) -> None:
    run(write_recipe(tmp_path, "sgpo", method={"target": "gold"}, run={"iterations": 1}), tmp_path / "run")
    cards = {card.name: card for card in store.cards(tmp_path / "run")}
    assert "prepare/improvement-targets" not in cards
    learned: list[Example] = store.read_rows(tmp_path / "run", cards["prepare/improvement-model"], Example)
    assert {example.answer.model for example in learned} == {"given"}
    assert {example.prompt.origin.source for example in learned} == {"rewrite"}


def test_templates_without_their_fields_and_several_improvements_are_refused() -> None:
    with pytest.raises(ValueError, match="gold"):
        SGPO(teaching="{prompt} {answer}")
    with pytest.raises(ValueError, match="answer"):
        SGPO(template="{prompt}")
    with pytest.raises(ValueError, match=r"refining.samples = 2: must be 1"):
        SGPO(refining=Sampling(samples=2))
