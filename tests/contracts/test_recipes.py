"""What holds for every shipped recipe, and how a recipe says no."""

from pathlib import Path

import pytest

from selfboost import recipe
from selfboost.plan import plan
from selfboost.recipe_text import recipe_text

SHIPPED = recipe.shipped()
SMALL = """
[model]
path = "fake"
[seed]
path = "embedded"
[method]
kind = "spin"
[loss]
kind = "dpo"
[scorer]
kind = "implicit"
[benchmark]
kind = "held_out"
scorer = {kind = "implicit"}
[engine]
kind = "fake"
[trainer]
kind = "fake"
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_the_promised_recipes_are_shipped() -> None:
    assert {"demo", "smoke", "synpo-llama3-8b"} <= SHIPPED.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_reads_and_survives_being_written_out_whole(name: str, tmp_path: Path) -> None:
    first = recipe.read(SHIPPED[name])
    whole = tmp_path / "whole.toml"
    whole.write_text(recipe_text(first))
    assert recipe.read(whole) == first


@pytest.mark.parametrize("name", SHIPPED)
def test_opens_with_a_line_that_says_what_it_is(name: str) -> None:
    assert SHIPPED[name].read_text().startswith("# ")


@pytest.mark.parametrize("name", [name for name in SHIPPED if recipe.read(SHIPPED[name]).model.path == "embedded"])
def test_what_the_package_can_run_alone_has_a_plan(name: str) -> None:
    found = plan(recipe.read(SHIPPED[name]))
    assert {"sample", "prefer", "measure"} <= {stage.verb for stage in found.stages}
    assert found.peak_memory_bytes


def test_a_setting_can_be_changed_from_outside(small: Path) -> None:
    changed = recipe.read(small, ["training.learning_rate=1e-5", "gate.rule=better", "run.beside=['seed_sft']"])
    assert changed.training.learning_rate == 1e-5
    assert changed.gate.rule == "better"
    assert changed.run.beside == ("seed_sft",)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("training.lr=1", r"training.lr: no such setting; allowed: learning_rate"),
        ("training.learning_rat=1", r"did you mean 'learning_rate'"),
        ("training.learning_rate=-1", r"training.learning_rate = -1: input should be greater than 0"),
        ("training.epochs=many", r"training.epochs = 'many': input should be a valid number"),
        ("gate.rule=sometimes", r"gate.rule = 'sometimes': input should be 'always', 'not_worse' or 'better'"),
        ("method.kind=spim", r"method.kind = 'spim': no such method \(did you mean 'spin'\?\)"),
        ("method.sampling.top_p=2", r"method.sampling: top_p = 2"),
        ("method.sampling=3", r"method.sampling = 3: must be a table of settings"),
        ("trainig.epochs=1", r"trainig: no such setting \(did you mean 'training'\?\)"),
        ("run.iterations.more=1", r"iterations is a single setting"),
        ("run.seed=-1", r"run.seed = -1: input should be greater than or equal to 0"),
        ("training.learning_rate=nan", r"training.learning_rate = nan: must be a number"),
        (".x=1", r"write section.key=value"),
        ("run.iterations=true", r"run.iterations = True: input should be a valid integer"),
    ],
)
def test_wrong_settings_are_named_with_what_is_allowed(small: Path, change: str, sentence: str) -> None:
    if change == "run.iterations.more=1":
        small.write_text(SMALL + "[run]\niterations = 2\n")
    with pytest.raises(ValueError, match=sentence):
        recipe.read(small, [change])


def test_a_missing_section_and_broken_toml_are_named(small: Path, tmp_path: Path) -> None:
    small.write_text(SMALL.replace('[loss]\nkind = "dpo"', ""))
    with pytest.raises(ValueError, match="loss: is missing"):
        recipe.read(small)
    small.write_text("[model\n")
    with pytest.raises(ValueError, match="is not valid TOML"):
        recipe.read(small)
    with pytest.raises(ValueError, match="no such recipe"):
        recipe.find("nothing-like-it")
    with pytest.raises(ValueError, match="no such recipe file"):
        recipe.find(str(tmp_path / "absent.toml"))


def test_files_beside_a_recipe_are_found_from_anywhere(small: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("")
    small.write_text(SMALL.replace('path = "embedded"', 'path = "mine.jsonl"'))
    assert recipe.read(small).seed.path == str(tmp_path / "mine.jsonl")
