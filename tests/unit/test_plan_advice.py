"""Warnings of a plan: what will go wrong is said before any cost, with the setting to change."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

import pytest

from selfboost import recipe
from selfboost.demo import EMBEDDED_MODEL
from selfboost.plan import Plan, plan, rates

embedded = pytest.mark.skipif(
    not (EMBEDDED_MODEL / "model.safetensors").exists(), reason="the embedded model is not built here"
)
ENOUGH = "training.batch_size=8"


@cache
def planned(*settings: str) -> Plan:
    small = ("run.iterations=1", "run.drift.prompts=0", "run.beside=[]", "seed.validation=10", "seed.held_out=10")
    return plan(recipe.read(recipe.find("smoke"), (*small, *settings)))


@embedded
def test_a_fitting_recipe_has_no_warnings() -> None:
    assert planned("method.pairs=48", "method.prompts=60", ENOUGH).warnings == []


@embedded
def test_few_steps_are_counted_with_a_cure_that_cures() -> None:
    (sentence,) = planned("training.batch_size=16").warnings
    assert sentence.startswith("iteration-1/policy has at most 32 rows, which make 2 optimiser steps of 16 rows")
    assert sentence.endswith("set training.batch_size = 8 and training.epochs = 5")
    assert planned("training.batch_size=8", "training.epochs=5").warnings == []


@embedded
def test_rates_far_off_are_named_with_one_that_suits() -> None:
    enough = ("training.batch_size=8", "training.epochs=2")
    high, low = planned("training.learning_rate=1e-2", *enough), planned("training.learning_rate=1e-7", *enough)
    assert high.warnings == [
        "training.learning_rate = 0.01 is likely to ruin the model (iteration-1/policy): about 0.0001 suits "
        f"{_millions()} million parameters"
    ]
    assert "training.learning_rate = 1e-07 will hardly change the model" in low.warnings[0]
    (sft,) = planned("seed_models.sft.learning_rate=0.5", *enough).warnings
    assert sft.startswith("seed_models.sft.learning_rate = 0.5 is likely to ruin the model (prepare/seed_sft)")


def _millions() -> str:
    from selfboost.plan.model_size import model_size

    size = model_size(str(EMBEDDED_MODEL))
    assert size is not None
    return f"{size.parameters / 1e6:.3g}"


@embedded
def test_answers_that_the_context_cuts_are_named_before_the_run() -> None:
    found = planned("method.sampling.max_tokens=5000", ENOUGH, "training.epochs=2").warnings
    (drafts, *_) = [sentence for sentence in found if sentence.startswith("iteration-1/drafts")]
    assert "of the model's context of " in drafts
    left = int(drafts.partition("set method.sampling.max_tokens = ")[2].split()[0])
    again = planned(f"method.sampling.max_tokens={left}", ENOUGH, "training.epochs=2").warnings
    assert not [sentence for sentence in again if sentence.startswith("iteration-1/drafts")]


@embedded
def test_texts_that_a_training_cuts_are_named() -> None:
    found = planned("training.max_length=8", ENOUGH, "training.epochs=2").warnings
    (sentence,) = [each for each in found if "are cut to 8" in each]
    assert sentence.startswith("iteration-1/policy: texts of about ")
    assert "set training.max_length = " in sentence


def test_steps_are_rounded_up_and_never_less_than_one() -> None:
    assert rates.steps(32, 16, 1.0) == 2
    assert rates.steps(33, 16, 1.0) == 3
    assert rates.steps(4, 128, 1.0) == 1
    assert rates.steps(100, 10, 0.5) == 5
    assert rates.steps(0, 8, 1.0) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(recipe.shipped()) - {"smoke"}))
def test_shipped_recipes_have_fitting_rates_and_steps(name: str) -> None:
    settings = () if name.startswith("demo") else ("seed.limit=2000", "run.iterations=1")
    try:
        found = plan(recipe.read(recipe.find(name), settings))
    except ValueError as missing:
        pytest.skip(str(missing))  # an optional library or a key
    assert not [each for each in found.warnings if "optimiser step" in each or "learning_rate" in each]


@embedded
def test_seeds_that_share_words_with_held_out_prompts_are_counted(tmp_path: Path) -> None:
    path = write_seeds(tmp_path, wrapped=False)
    (note,) = [each for each in planned_on(path).notes if "share 8 words" in each]
    assert note.startswith("1 of 20 seeds share 8 words in a row with measured or kept-away prompts")  # one is held out


@embedded
def test_a_wrapper_of_all_prompts_is_no_overlap(tmp_path: Path) -> None:
    notes = planned_on(write_seeds(tmp_path, wrapped=True)).notes
    (shared,) = [each for each in notes if "share 8 words" in each]
    assert shared.startswith("1 of 20 seeds")
    (wrapper,) = [each for each in notes if "taken for a wrapper" in each]
    assert '"below is an instruction that describes a task' in wrapper.lower()


def planned_on(seed: Path) -> Plan:
    base = recipe.read(recipe.find("smoke"), ["run.iterations=1", "run.drift.prompts=0", "run.beside=[]"])
    source = replace(base.seed, path=str(seed), limit=0, validation=str(seed.parent / "v.jsonl"), held_out=10)
    return plan(replace(base, seed=source))


def write_seeds(folder: Path, *, wrapped: bool) -> Path:
    """A seed of 30 prompts, and 10 for validation of which two repeat a training prompt's first eight words."""
    before = "Below is an instruction that describes a task, write a response. " if wrapped else ""
    rng = Random(0)

    def texts(count: int) -> list[str]:
        words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(12 * count)]
        return [" ".join(words[12 * i : 12 * i + 12]) for i in range(count)]

    seeds, others = texts(30), texts(10)
    others[:2] = [
        " ".join([*seed.split()[:8], *other.split()[8:]]) for seed, other in zip(seeds[:2], others[:2], strict=True)
    ]
    for name, some in (("seed.jsonl", seeds), ("v.jsonl", others)):
        rows = [json.dumps({"prompt": before + text, "response": "yes"}) for text in some]
        (folder / name).write_text("\n".join(rows))
    return folder / "seed.jsonl"
