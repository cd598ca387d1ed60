"""A recipe run with several seeds: resumed as one, shown over seeds, compared over seeds."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from fake_recipes import summary, write_recipe
from selfboost.cli import main
from selfboost.results import recipe_table
from selfboost.views.comparison import compare
from selfboost.views.repeats import over_runs, repeats


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repeats")
    for name, method in (("one", "spin"), ("other", "seed_sft")):
        recipe = write_recipe(root / "recipes" / name, method)
        assert command("run", recipe, "--into", root / name, "--seeds", 0, 1, 2) == 0
    return root


def test_each_seed_is_a_run_of_its_own(folder: Path) -> None:
    assert repeats(folder / "one") == {seed: folder / "one" / f"seed-{seed}" for seed in range(3)}
    assert [recipe_table(root)["run"]["seed"] for root in repeats(folder / "one").values()] == [0, 1, 2]
    assert repeats(folder / "one" / "seed-0") == {}


def test_figures_are_students_over_seeds(folder: Path) -> None:
    rows = over_runs(repeats(folder / "one"))
    runs = [summary(root) for root in repeats(folder / "one").values()]
    last = next(row for row in rows if (row.iteration, row.measure) == (2, "sampled"))
    values = [run["iterations"][2]["measures"]["sampled"]["value"] for run in runs]
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    assert (last.value.value, last.value.low, last.value.high) == pytest.approx((np.mean(values), low, high))
    gains = [run["iterations"][2]["measures"]["sampled"]["gain"] for run in runs]
    assert last.gain is not None
    assert last.gain.value == pytest.approx(np.mean(gains))
    assert rows[0].gain is None


def test_show_prints_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("show", folder / "one") == 0
    assert "run seeds 0, 1, 2" in " ".join(capsys.readouterr().out.split())
    assert command("show", folder / "one", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seeds"] == [0, 1, 2]
    assert {"iteration", "measure", "value", "gain"} == found["rows"][0].keys()


def test_the_same_command_resumes_all(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "other").rglob("stage.json")}
    assert (
        command("run", folder / "recipes" / "other" / "recipe.toml", "--into", folder / "other", "--seeds", 0, 1, 2)
        == 0
    )
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "other").rglob("stage.json")}
    assert capsys.readouterr().out.count("Report: ") == 3


def test_repeats_are_compared_seed_by_seed(folder: Path) -> None:
    found = compare(folder / "other", folder / "one")["sampled"]
    each = [compare(folder / "other" / f"seed-{s}", folder / "one" / f"seed-{s}")["sampled"] for s in range(3)]
    assert found.difference.value == pytest.approx(np.mean([one.difference.value for one in each]))
    assert (found.difference.count, found.over) == (3, "run seeds")


@pytest.mark.parametrize(
    ("seeds", "words"), [(["1", "1"], "given once"), (["-1"], "whole number"), (["x"], "whole number")]
)
def test_seeds_that_are_none_are_refused(
    seeds: list[str], words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("run", "smoke", "--into", folder / "refused", "--seeds", *seeds) == 2
    assert words in capsys.readouterr().err
    assert not (folder / "refused").exists()


def test_one_run_has_no_interval_over_seeds(folder: Path) -> None:
    with pytest.raises(ValueError, match="needs two runs"):
        over_runs({0: folder / "one" / "seed-0"})
