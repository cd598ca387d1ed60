"""The Python face: what it returns is what the folders say, as objects and as data frames, and its page runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import finished_run, make_run

import selfboost
from selfboost.views.comparison import compare as compared

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
TOUR = PAGE.with_name("tour.ipynb")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("other"), None, "training.epochs=0.5")


def test_boost_takes_a_file_and_returns_the_run(tmp_path: Path, other: Path) -> None:
    recipe = other.parent / "small.toml"
    run = selfboost.boost(str(recipe), str(tmp_path / "run"), settings=["training.epochs=0.5"])
    assert run.iterations[1].measures == selfboost.load_run(other).iterations[1].measures
    assert (
        selfboost.boost(selfboost.read_recipe(recipe, ["training.epochs=0.5"]), tmp_path / "run").status == "finished"
    )
    with pytest.raises(ValueError, match="settings and trust belong to a recipe's file or name"):
        selfboost.boost(selfboost.read_recipe(recipe), tmp_path / "run", settings=["run.seed=1"])


def test_a_comparison_is_that_of_the_command(other: Path) -> None:
    found = selfboost.compare(finished_run(), str(other))
    assert found.measures == compared(finished_run(), other)
    assert found["sampled"] == found.measures["sampled"]


def test_an_export_is_a_folder(tmp_path: Path) -> None:
    made = selfboost.export_run(str(finished_run()), str(tmp_path / "made"), iteration=1)
    assert (made / "README.md").is_file()


def test_data_frames_hold_the_same_numbers(other: Path) -> None:
    pytest.importorskip("pandas", reason="needs the extra `pandas`")
    run = selfboost.load_run(finished_run())
    measures = run.to_pandas().set_index(["model", "split", "measure"])
    row = run.iterations[1].measures["sampled"]
    wanted = [row.value, row.low, row.high, row.gain]
    assert measures.loc[("1", "held_out", "sampled"), ["value", "low", "high", "gain"]].tolist() == wanted
    assert measures.loc[("seed_sft", "held_out", "sampled"), "value"] == run.beside[0].measures["sampled"].value
    models = (*run.iterations, *run.beside)
    assert len(measures) == sum(len(e.measures) for e in models) + sum(len(e.validation) for e in run.iterations)
    stages = run.stages_to_pandas()
    assert len(stages) == len({*stages.name}) == len(run.every_stage)
    plan, trial = (
        selfboost.check(other.parent / "small.toml", probe=False),
        selfboost.try_recipe(other.parent / "small.toml"),
    )
    assert plan.to_pandas()["rows"].tolist() == [stage.rows for stage in plan.stages]
    assert trial.to_pandas()["measuring"].sum() == len(trial.measuring)
    differences = selfboost.compare(finished_run(), other)
    assert differences.to_pandas().set_index("measure").loc["sampled", "p"] == differences["sampled"].difference.p


def test_what_comes_before_a_run_is_what_the_commands_do(tmp_path: Path, other: Path) -> None:
    recipe = other.parent / "small.toml"
    plan = selfboost.check(recipe, probe=False)
    assert {stage.name for stage in plan.stages} >= {"iteration-1/policy", "iteration-1/measure-held_out"}
    assert selfboost.check(recipe, gpus=2, gpu_kind="H100").fleet.gpus == 2
    trial = selfboost.try_recipe(recipe, tmp_path / "trial", prompts=4, settings=["training.epochs=0.5"])
    assert (trial.error, trial.scale.prompts) == ("", 4)
    assert (tmp_path / "trial").is_dir()
    file = selfboost.write_launch("slurm", recipe, tmp_path / "out", to=tmp_path / "job.sh", name="job", nodes=3)
    assert "#SBATCH --nodes=3" in file.read_text()
    with pytest.raises(ValueError, match="no such file or folder, and not the name of a data set"):
        selfboost.init(tmp_path, model="embedded", seed=str(tmp_path / "none.jsonl"))
    with pytest.raises(ValueError, match="write USE=COLUMN"):
        selfboost.init(tmp_path, model="embedded", seed="embedded", columns="x")


def test_a_model_is_asked_by_text_or_conversation_and_the_same_seed_answers_the_same() -> None:
    root, turns = finished_run(), [selfboost.Message(role="user", content="say word 3 twice")]
    asked = ["say word 3 twice", turns, *(f"word {n}" for n in range(70))]  # more than a block of the engine
    found = selfboost.ask(root, asked, seed=7)
    assert [answer.prompt.text for answer in found] == ["say word 3 twice", "say word 3 twice", *asked[2:]]
    assert found[0].prompt_ids == found[1].prompt_ids
    assert [each.token_ids for each in found] == [each.token_ids for each in selfboost.ask(root, asked, seed=7)]
    assert found[1].token_ids == selfboost.ask(root, [turns], seed=8)[0].token_ids
    first, policy = (selfboost.ask(f"{root}@{which}", asked[:1])[0].model for which in ("0", "best"))
    assert first != policy


def test_a_measurement_holds_the_differences_from_the_other_model(tmp_path: Path, other: Path) -> None:
    recipe, root = other.parent / "small.toml", finished_run()
    found = selfboost.measure(root, "held_out", recipe=recipe, against=f"{root}@0", to=tmp_path / "found.json")
    assert selfboost.read_measurement(tmp_path / "found.json").figures == found.figures
    assert found.against is not None
    gap = (found.figures["sampled"].value or 0) - (found.against.figures["sampled"].value or 0)
    assert found.differences["sampled"].difference.value == pytest.approx(gap)
    with pytest.raises(ValueError, match="is no measurement, so it is left as it is"):
        selfboost.measure(root, "held_out", recipe=recipe, to=recipe)


def test_a_dry_push_names_the_files_and_asks_nobody(tmp_path: Path) -> None:
    sent = selfboost.push_run(finished_run(), "me/mine", dry_run=True)
    assert (sent.commit, sent.place) == ("", "the private model repository me/mine")
    assert sent.files["fake.json"] > 0


def test_without_pandas_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ValueError, match=r"to_pandas\(\) needs pandas, .*: pip install 'selfboost\[pandas\]'"):
        selfboost.load_run(finished_run()).to_pandas()


def test_the_pages_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Path) -> None:
    """On a small recipe in the place of the one that takes a minute."""
    pytest.importorskip("pandas", reason="needs the extra `pandas`")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block.replace('"smoke"', repr(str(other.parent / "small.toml"))), str(PAGE), "exec"), {})
    assert any((tmp_path / "two-records").rglob("*.parquet"))


def tour() -> str:
    """The code of the notebook's cells, top to bottom; none has an output."""
    cells = [cell for cell in json.loads(TOUR.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def test_the_tour_runs_on_a_small_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Path) -> None:
    pytest.importorskip("pandas", reason="needs the extra `pandas`")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(tour().replace('"smoke"', repr(str(other.parent / "small.toml"))), str(TOUR), "exec"), names)
    assert names["measures"].equals(selfboost.load_run("runs/tour").to_pandas())
    assert set(names["comparison"].measures) >= {"sampled"}


@pytest.mark.slow
def test_the_tour_runs_as_written_in_a_fresh_process(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="needs the extra `pandas`")
    ran = subprocess.run(
        [sys.executable, "-c", tour()], cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"^score of .*: 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\], gain", ran.stdout, re.MULTILINE)
    assert (tmp_path / "runs" / "tour" / "report.html").is_file()
