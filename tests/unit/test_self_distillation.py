"""Self-distillation on raw answers: what is learned, what is dropped, what is refused."""

from pathlib import Path

import pytest

from fake_recipes import run, summary, write_recipe
from selfboost import store
from selfboost.methods.self_distillation import SelfDistillation
from selfboost.records import Answer, Example, Sampling


@pytest.mark.parametrize("keep_cut", [False, True])
def test_raw_answers_to_the_seeds_are_learned_but_cut_ones(tmp_path: Path, keep_cut: bool) -> None:
    method = {"shown": "nothing", "keep_cut": keep_cut}
    run(write_recipe(tmp_path, "self_distillation", method=method), tmp_path / "run")
    cards = {card.name: card for card in store.cards(tmp_path / "run")}
    own: list[Answer] = store.read_rows(tmp_path / "run", cards["iteration-1/own-answers"], Answer)
    examples: list[Example] = store.read_rows(tmp_path / "run", cards["iteration-1/policy"], Example)
    usable = [answer for answer in own if keep_cut or answer.finish == "stop"]
    assert [(example.prompt, example.answer) for example in examples] == [(a.prompt, a) for a in usable]
    assert len(usable) == (len(own) if keep_cut else len(own) - 1)
    assert {answer.prompt.origin.source for answer in own} == {"seed"}
    assert summary(tmp_path / "run")["iterations"][1]["notes"]["distilled"]["counts"]["kept"] == len(usable)


def test_several_answers_and_a_template_without_gold_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sampling.samples = 2: must be 1"):
        SelfDistillation(sampling=Sampling(samples=2))
    with pytest.raises(ValueError, match="answer"):
        SelfDistillation(template="Say it again: {prompt}")
