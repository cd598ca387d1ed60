"""`selfboost init`: the recipe fits its model, its seed and the machine, or says in one sentence why it cannot."""

import gzip
import json
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from real_data import real
from selfboost import recipe
from selfboost.data.columns import Columns
from selfboost.data.files import text_in
from selfboost.data.seed_data import load_seed_data
from selfboost.new_recipe import RecipeRequest, write_new_recipe
from selfboost.new_recipe.device import Machine, room_for
from selfboost.new_recipe.fit import FEWEST
from selfboost.plan import plan, rates
from selfboost.plan.model_size import ModelSize, model_size
from selfboost.plan.placement import fleet_for
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
    return recipe.read(write_new_recipe(folder / method, stories(seed, method), machine=machine).path)


def stories(seed: Path, method: str = "spin") -> RecipeRequest:
    return RecipeRequest(model=str(real(STORIES)), seed=str(seed), method=method)


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


def sizes(text: str) -> ModelSize:
    found = model_size(f"some/Model-{text}")
    assert found is not None
    return found


def gpu(gigabytes: float) -> Machine:
    return Machine(gpu=True, memory=int(gigabytes * 10**9))


@pytest.mark.parametrize(
    ("size", "machine", "adapter", "settings"),
    [
        ("7B", gpu(24), True, {"trainer.gradient_checkpointing": True, "engine.batch_size": 32}),
        ("7B", gpu(80), True, {}),
        ("7B", gpu(192), False, {}),
        ("3B", gpu(80), False, {"trainer.gradient_checkpointing": True}),
        ("1B", gpu(24), False, {"trainer.gradient_checkpointing": True}),
        ("0.5B", gpu(24), False, {}),
        ("1B", CPU, False, {"trainer.gradient_checkpointing": True}),
        ("3B", CPU, True, {"trainer.gradient_checkpointing": True, "engine.batch_size": 32}),
    ],
)
def test_a_model_is_trained_and_sampled_as_the_memory_allows(
    size: str, machine: Machine, adapter: bool, settings: dict[str, object]
) -> None:
    room = room_for(sizes(size), machine, trained=4096, sampled=1024, rows=64)
    assert (room.adapter, room.settings, room.warnings) == (adapter, settings, [])


@pytest.mark.parametrize(
    ("size", "machine", "judging", "sentence"),
    [
        ("14B", gpu(24), 0, "training the model, even by an adapter, takes about 29.0 GiB, and the GPU has 22"),
        ("7B", gpu(24), 2, "judging answers by your own model, fine-tuned and not, takes about 26.1 GiB, and the G"),
        ("7B", CPU, 2, "training the model, even by an adapter, takes about 30.1 GiB, and this machine has 24.0 GiB"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_fit_at_all_is_warned_of(
    size: str, machine: Machine, judging: int, sentence: str
) -> None:
    (warning,) = room_for(sizes(size), machine, trained=4096, sampled=512, rows=64, judging=judging).warnings
    assert warning.startswith(sentence)


def test_a_recipe_for_a_described_gpu_fits_it_by_the_plan_too(tmp_path: Path) -> None:
    wanted = RecipeRequest(
        model="some/Model-7B", seed=str(seed_file(tmp_path, 60)), method="seed_po", judge="some/Judge-1B"
    )
    written = write_new_recipe(tmp_path / "new", wanted, machine=gpu(24))
    assert not [warning for warning in written.warnings if "GiB" in warning]
    found = recipe.read(written.path)
    assert found.training.lora_rank == 16
    assert found.training.learning_rate == pytest.approx(10 * rates.preference_rate(7_000_000_000))
    assert (vars(found.engine)["dtype"], vars(found.trainer)["dtype"]) == ("bfloat16", "bfloat16")
    assert vars(found.engine)["batch_size"] < 64
    assert plan(found, fleet_for(found, "RTX4090", 1)).misfits == []


def test_what_does_not_fit_in_memory_is_trained_by_adapters(tmp_path: Path) -> None:
    found = new(tmp_path, seed_file(tmp_path, 60), machine=TINY_GPU)
    assert found.training.lora_rank > 0
    assert found.training.learning_rate == pytest.approx(10 * rates.preference_rate(260_032))
    assert found.engine.dtype == "bfloat16"  # pyright: ignore[reportAttributeAccessIssue]


def test_long_answers_are_warned_of_and_prompts_without_room_refused(tmp_path: Path) -> None:
    long = write_new_recipe(tmp_path / "a", stories(seed_file(tmp_path, 60, 90)), machine=CPU)
    assert any("half of the seed's answers are longer than" in warning for warning in long.warnings)
    path = tmp_path / "seed.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i} why " * 200, "response": "So."}) + "\n" for i in range(60)))
    with pytest.raises(
        ValueError, match=r"prompts of [\d,]+ tokens leave 0 for an answer in the model's context of 512"
    ):
        write_new_recipe(tmp_path / "b", stories(path), machine=CPU)
    assert not (tmp_path / "b").exists()


def test_a_short_recipe_and_a_full_one_are_the_same_recipe(tmp_path: Path) -> None:
    wanted = RecipeRequest(model="embedded", seed=str(seed_file(tmp_path, 60)), method="spin")
    short = write_new_recipe(tmp_path / "short", wanted, machine=CPU)
    full = write_new_recipe(tmp_path / "full", wanted, machine=CPU, full=True)
    assert recipe.read(short.path) == recipe.read(full.path)
    assert len(short.path.read_text().splitlines()) < 60 < len(full.path.read_text().splitlines())
    assert "self-judged" in " ".join(short.warnings)


def test_columns_are_written_so_that_the_run_reads_what_init_read(tmp_path: Path) -> None:
    rows = "".join(f"{i},Write of house {i} and tree {2 * i}.,House {i}.\n" for i in range(60))
    (tmp_path / "seed.csv").write_text("Nr,Frage,Antwort\n" + rows)
    wanted = RecipeRequest(model="embedded", seed=str(tmp_path / "seed.csv"), method="spin")
    with pytest.raises(ValueError, match=r"line 2: no prompt is recognised among the columns Nr, Frage, Antwort"):
        write_new_recipe(tmp_path / "new", wanted, machine=CPU)
    columns = Columns(prompt="Frage", response="Antwort")
    written = write_new_recipe(tmp_path / "new", replace(wanted, columns=columns), machine=CPU)
    assert (written.seeds, written.notes) == (60, ["left out: 'Nr' in 60 of 60 rows"])
    found = recipe.read(written.path)
    assert found.seed.columns == columns
    data = load_seed_data(found.seed, 0)
    assert (len(data.train), len(data.held_out)) == (42, 9)
    assert data.train[0].response.startswith("House ")


def test_the_seed_is_read_once(tmp_path: Path) -> None:
    read: list[str] = []

    def watch(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code is text_in.__code__:
            read.append(str(frame.f_locals["file"]))

    seed = seed_file(tmp_path, 60)
    sys.setprofile(watch)
    try:
        write_new_recipe(tmp_path / "new", RecipeRequest(model="embedded", seed=str(seed), method="synpo"), machine=CPU)
    finally:
        sys.setprofile(None)
    assert read == [str(seed)]


@pytest.mark.parametrize(("model", "iterations"), [(STORIES, 1), ("embedded", 2)])
def test_a_model_without_a_chat_template_has_one_iteration(tmp_path: Path, model: str, iterations: int) -> None:
    path = model if model == "embedded" else str(real(model))
    wanted = RecipeRequest(model=path, seed=str(seed_file(tmp_path, 60)), method="spin")
    written = write_new_recipe(tmp_path / "new", wanted, machine=CPU)
    assert recipe.read(written.path).run.iterations == iterations
    assert ("# no chat template: the model may not know how to end" in written.path.read_text()) == (iterations == 1)
    assert any("no chat template of its own" in warning for warning in written.warnings) == (iterations == 1)


@pytest.mark.parametrize(
    ("method", "why"),
    [("synpo", "what chooses the training pairs also rates"), ("spin", "the judge is your own model")],
)
def test_results_are_judged_by_another_where_there_is_one_or_said_to_be_self_judged(
    tmp_path: Path, method: str, why: str
) -> None:
    wanted = RecipeRequest(model="embedded", seed=str(seed_file(tmp_path, 60)), method=method)
    (warning,) = write_new_recipe(tmp_path / "self", wanted, machine=CPU).warnings
    assert warning.startswith(f"the results are self-judged: {why}")
    others = [
        (replace(wanted, judge="some/Judge"), {"path": "some/Judge", "threshold": 0.0}),
        (replace(wanted, seed="embedded"), {"function": "selfboost.demo.checks:check"}),
    ]
    for number, (other, settings) in enumerate(others):
        written = write_new_recipe(tmp_path / str(number), other, machine=CPU)
        assert written.warnings == []
        scorer = vars(vars(recipe.read(written.path).benchmark)["scorer"])
        assert {name: scorer[name] for name in settings} == settings


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": "none.csv"}, "--seed none.csv: no such file or folder"),
        ({"judge": "./none"}, "--judge ./none: no such folder, and not the name of a model"),
        ({"columns": Columns(prompt="a")}, "--columns: the embedded seed has columns of its own"),
    ],
)
def test_what_cannot_be_wanted_is_refused(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        write_new_recipe(
            tmp_path / "new", replace(RecipeRequest(model="embedded", seed="embedded"), **change), machine=CPU
        )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("method", ["synpo", "sampling_ranking", "spin"])
def test_the_embedded_model_is_asked_in_words_that_it_knows(tmp_path: Path, method: str) -> None:
    request = RecipeRequest(model="embedded", seed="embedded", method=method)
    found = recipe.read(write_new_recipe(tmp_path, request).path)
    demo = recipe.read(recipe.find("demo" if method == "synpo" else f"demo-{method.replace('_', '-')}"))
    for part, names in {"generator": ("template", "target", "prefix", "separator"), "improver": ("template",)}.items():
        mine, shipped = (getattr(each.method, part, None) for each in (found, demo))
        assert (mine is None) == (shipped is None)
        for name in names if mine else ():
            assert getattr(mine, name) == getattr(shipped, name)
