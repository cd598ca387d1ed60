"""`selfboost init`: the recipe fits its model, its seed and the machine, or says in one sentence why it cannot."""

import gzip
import json
from itertools import islice
from pathlib import Path

import pytest

from real_data import real
from selfboost import recipe
from selfboost.new_recipe import write_new_recipe
from selfboost.new_recipe.fit import FEWEST, Machine
from selfboost.plan import plan, rates
from selfboost.recipe import Recipe

CPU = Machine(gpu=False, memory=24 * 2**30)
TINY_GPU = Machine(gpu=True, memory=2**20)
STORIES = "model/stories260K-hf"
CONTEXT = 512


def seed_file(folder: Path, rows: int, words: int = 6) -> Path:
    path = folder / "seed.jsonl"
    lines = [
        {
            "prompt": f"Write about number {i} and the {'red' if i % 2 else 'old'} house.",
            "response": f"House {i}. " * words,
        }
        for i in range(rows)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def new(folder: Path, seed: Path, *, method: str = "spin", machine: Machine = CPU) -> Recipe:
    return recipe.read(write_new_recipe(folder / method, str(real(STORIES)), str(seed), method, machine=machine).path)


def test_rates_fall_with_the_size_and_stay_within_what_was_measured_or_published() -> None:
    sizes = [260_000, 1_250_000, 135_000_000, 600_000_000, 7_000_000_000]
    for rate in (rates.finetuning_rate, rates.preference_rate):
        found = [rate(size) for size in sizes]
        assert found == sorted(found, reverse=True)
    assert rates.finetuning_rate(7_000_000_000) == pytest.approx(1.2e-5)
    assert 5e-7 <= rates.preference_rate(7_000_000_000) <= 1e-6


@pytest.mark.parametrize(("examples", "steps"), [(8, 10), (40, 20), (210, 26), (1000, 31), (5000, 39)])
def test_a_training_has_at_least_twenty_steps_or_ten_passes(examples: int, steps: int) -> None:
    found = rates.training(1e-4, examples)
    assert -(-examples // found["batch_size"]) * found["epochs"] >= min(20, steps)
    assert found["epochs"] <= 10


@pytest.mark.parametrize("method", ["synpo", "spin", "dnpo", "sampling_ranking", "seed_po"])
def test_every_length_fits_the_context_and_the_split_leaves_most_of_the_seed(method: str, tmp_path: Path) -> None:
    path = tmp_path / "seed.jsonl"
    with gzip.open(real("seed/raschka_instruction_1100.jsonl.gz"), "rt") as lines:
        path.write_text("".join(islice(lines, 120)))
    found = new(tmp_path, path, method=method)
    assert (found.seed.validation, found.seed.held_out) == (18, 18)
    assert found.engine.dtype == "float32"  # pyright: ignore[reportAttributeAccessIssue]
    assert FEWEST <= found.method.sampling.max_tokens < 100  # pyright: ignore[reportAttributeAccessIssue]
    assert found.training.max_length <= CONTEXT
    assert found.training.learning_rate == rates.preference_rate(260_032)
    assert found.seed_models.sft.learning_rate == rates.finetuning_rate(260_032)
    assert plan(found).stages


def test_what_does_not_fit_in_memory_is_trained_by_adapters(tmp_path: Path) -> None:
    found = new(tmp_path, seed_file(tmp_path, 60), machine=TINY_GPU)
    assert found.training.lora_rank > 0
    assert found.training.learning_rate == pytest.approx(10 * rates.preference_rate(260_032))
    assert found.engine.dtype == "bfloat16"  # pyright: ignore[reportAttributeAccessIssue]


def test_long_answers_are_warned_of_and_prompts_without_room_refused(tmp_path: Path) -> None:
    long = write_new_recipe(tmp_path / "a", str(real(STORIES)), str(seed_file(tmp_path, 60, 90)), "spin", machine=CPU)
    assert any("half of the seed's answers are longer than" in warning for warning in long.warnings)
    path = tmp_path / "seed.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i} why " * 200, "response": "So."}) + "\n" for i in range(60)))
    with pytest.raises(
        ValueError, match=r"prompts of [\d,]+ tokens leave 0 for an answer in the model's context of 512"
    ):
        write_new_recipe(tmp_path / "b", str(real(STORIES)), str(path), "spin", machine=CPU)
    assert not (tmp_path / "b").exists()


def test_a_short_recipe_and_a_full_one_are_the_same_recipe(tmp_path: Path) -> None:
    seed = seed_file(tmp_path, 60)
    short = write_new_recipe(tmp_path / "short", "embedded", str(seed), "spin", machine=CPU)
    full = write_new_recipe(tmp_path / "full", "embedded", str(seed), "spin", machine=CPU, full=True)
    assert recipe.read(short.path) == recipe.read(full.path)
    assert len(short.path.read_text().splitlines()) < 60 < len(full.path.read_text().splitlines())
    assert "self-judged" in " ".join(short.warnings)
