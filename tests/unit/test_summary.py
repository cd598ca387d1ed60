"""What `selfboost show` says: the same as run.json and the stages say, for finished, running and wrong folders."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small_run import finished_run

from selfboost import store
from selfboost.disk.json_files import read_json, write_json
from selfboost.measures import Estimated, Measure
from selfboost.methods.parts.beta_search import BetaSearched
from selfboost.methods.parts.pairing import GoldPairs
from selfboost.methods.parts.synthetic_preferences import PairYield
from selfboost.notes import Note, kept
from selfboost.views.sentences import choices, duration, gain_of, interval, number, reason, title_of, value_of, verdict
from selfboost.views.summary import IterationSummary, as_json, summary
from selfboost.views.table import print_summary, summary_table


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run(), tmp_path / "run"))


def change(root: Path, **values: object) -> None:
    write_json(root / "run.json", read_json(root / "run.json") | values)


def test_every_finished_stage_is_told_exactly_once() -> None:
    told = summary(finished_run())
    parts = [*(entry.stages for entry in (*told.iterations, *told.beside)), told.prepare, told.further]
    names = [stage.name for part in parts for stage in part]
    assert sorted(names) == sorted(card.name for card in store.cards(finished_run()))
    assert told.further == ()
    assert (finished_run() / told.iterations[1].stages[0].file).exists()


def test_iterations_begin_with_the_initial_model_and_carry_what_programs_read() -> None:
    first, second = as_json(summary(finished_run()))["iterations"]
    assert (first["iteration"], first["decision"], first["pairs"]) == (0, "initial", 0)
    assert second["decision"] == "promoted"
    assert second["pairs"] > 0
    assert {"policy", "why", "validation", "notes", "agreement"} <= second.keys()
    row = second["measures"]["sampled"]
    assert row["low"] <= row["value"] <= row["high"]
    assert row["gain"] == pytest.approx(row["value"] - first["measures"]["sampled"]["value"])
    assert set(second["stages"][0]) == {"name", "verb", "rows", "tokens", "seconds", "fingerprint", "file"}


def test_the_object_is_what_run_json_holds() -> None:
    kept, told = read_json(finished_run() / "run.json"), as_json(summary(finished_run()))
    for name in kept.keys() - {"iterations", "beside"}:
        assert told[name] == kept[name], name
    for name in ("iterations", "beside"):
        for entry, shown in zip(kept[name], told[name], strict=True):
            assert {**shown, "policy": entry["policy"]} == {**entry, "stages": shown["stages"]}


def test_the_object_is_strict_json_even_with_infinite_settings(copy: Path) -> None:
    (copy / "recipe.toml").write_text("[method]\nthreshold = -inf\n")
    told = as_json(summary(copy))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert float(told["recipe"]["method"]["threshold"]) == float("-inf")


def test_a_run_without_run_json_is_starting_and_shows_its_stages(copy: Path) -> None:
    (copy / "run.json").unlink()
    told = summary(copy)
    assert told.status == "starting"
    assert told.iterations == ()
    assert len(told.further) + len(told.prepare) == len(store.cards(copy))
    print_summary(copy)


def test_stages_of_an_iteration_at_work_are_told_apart(copy: Path) -> None:
    told = read_json(copy / "run.json")
    change(copy, status="running", iterations=told["iterations"][:1])
    assert {stage.name.split("/")[0] for stage in summary(copy).further} == {"iteration-1"}


def test_a_killed_run_is_stopped_a_living_one_running(copy: Path) -> None:
    change(copy, status="running")
    lock = (copy / "lock").read_text()
    assert f"process {os.getpid()} " in lock
    assert summary(copy).status == "running"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (copy / "lock").write_text(lock.replace(f"process {os.getpid()} ", f"process {dead.pid} "))
    assert summary(copy).status == "stopped"


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a run's folder"):
        summary(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json: is damaged"):
        summary(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(ValueError, match="no list of iterations"):
        summary(tmp_path)
    (tmp_path / "run.json").write_text('{"declared": {}, "iterations": [{"iteration": "two"}]}')
    with pytest.raises(
        ValueError, match=r"run\.json: is damaged \(iterations.0.iteration: input should be a valid int"
    ):
        summary(tmp_path)
    (tmp_path / "run.json").write_text('{"iterations": []}')
    (tmp_path / "recipe.toml").write_text("[")
    with pytest.raises(ValueError, match=r"recipe\.toml: is damaged"):
        summary(tmp_path)


@pytest.mark.parametrize("width", [80, 140])
def test_the_printed_table_fits_its_width_and_breaks_no_interval(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_summary(finished_run())
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    assert "\x1b" not in printed
    told = summary(finished_run())
    for entry in (*told.iterations, *told.beside):
        assert interval(entry.measures["sampled"], share=True) in printed
    assert reason(told, told.iterations[1]) in printed.replace(" \n", " ").replace("\n", " ")
    assert "seed_sft" in printed
    assert summary_table(told, width).row_count == 3


def test_wide_numbers_and_long_names_shrink_others_not_the_decision(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = read_json(copy / "run.json")
    wide = {"value": -1234.5, "low": -1250.1, "high": -1210.2, "gain": -100.5, "gain_low": -110.1, "gain_high": -90.5}
    for entry in (*told["iterations"], *told["beside"]):
        entry["measures"] = {"sampled": wide, "length": wide, "win_rate": entry["measures"].get("win_rate", wide)}
    told["beside"][0]["name"] = "owner/a-model-with-a-very-long-name"
    change(copy, iterations=told["iterations"], beside=told["beside"], gate_measure="length")
    monkeypatch.setenv("COLUMNS", "80")
    print_summary(copy)
    table = capsys.readouterr().out.split("\n\n")[1]
    lines = table.splitlines()
    assert max(map(len, lines)) <= 80
    ends = [line.split()[-1] for line in lines]
    assert [word for word in ("decision", "initial", "promoted", "beside") if word not in ends] == []
    for part in ("-1,234.5", "[-1,250.1,", "-1,210.2]", "[-110.1,", "-90.5]"):
        assert part in table
    names = [line.split(" ")[0] for line in lines]
    assert "owner/a-model-with-a-very-long-name" in "".join(names)


def test_a_run_that_broke_off_says_with_what_and_others_say_nothing_of_it(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_summary(copy)
    assert "failed:" not in capsys.readouterr().out
    assert summary(copy).error == ""
    change(copy, status="failed", error="iteration 1: the scorer said nothing.")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock = (copy / "lock").read_text()
    (copy / "lock").write_text(lock.replace(f"process {os.getpid()} ", f"process {dead.pid} "))
    assert summary(copy).status == "failed"
    print_summary(copy)
    sentence = "failed: iteration 1: the scorer said nothing; rerun to resume"
    assert sentence in capsys.readouterr().out.replace("\n", " ")


def test_numbers_are_written_for_people() -> None:
    assert number(0.5123, share=True) == "51.2 %"
    assert number(0.109, share=True, signed=True, unit=False) == "+10.9"
    assert [number(value) for value in (None, 0.0, 6.25, 39.17, 1234.5, 0.0123)] == [
        "–",
        "0.00",
        "6.25",
        "39.2",
        "1,234.5",
        "0.012",
    ]
    assert interval(Estimated(low=0.1, high=0.2), share=True) == "[10.0, 20.0]"
    assert interval(Estimated(low=-1.0), signed=True) == ""
    assert [duration(s) for s in (2.04, 80.4, 600, 7300)] == ["2.0 s", "80 s", "10 min 0 s", "2 h 1 min"]


SHARE, TOKENS = Measure(title="right answers", unit="share"), Measure(title="length", unit="tokens", better="neither")
ERRORS = Measure(title="errors per answer", better="lower")


def test_what_a_measure_declares_makes_its_values_read_right() -> None:
    gain = Estimated(value=-0.5, low=-0.9, high=-0.1)
    assert [value_of(0.6, m) for m in (SHARE, TOKENS, ERRORS)] == ["60.0 %", "0.60 tokens", "0.60"]
    assert [value_of(None, m) for m in (SHARE, TOKENS, ERRORS)] == ["–", "–", "–"]
    assert gain_of(gain, SHARE) == "-50.0 percentage points [-90.0, -10.0]"
    assert gain_of(gain, TOKENS) == "-0.50 tokens [-0.90, -0.10]"
    assert gain_of(gain, ERRORS) == "-0.50 [-0.90, -0.10]"
    titles = ["right answers (%)", "length (tokens)", "errors per answer (lower is better)"]
    assert [title_of(m) for m in (SHARE, TOKENS, ERRORS)] == titles
    assert [verdict(gain, m) for m in (SHARE, TOKENS, ERRORS)] == ["worse", "", "better"]
    assert [verdict(replace(gain, high=0.1), m) for m in (SHARE, TOKENS, ERRORS)] == ["", "", ""]


def test_nothing_heavy_is_loaded_to_look_at_a_run() -> None:
    code = (
        "import sys; from pathlib import Path; from selfboost.report import write_report;"
        "from selfboost.views.table import print_summary; import selfboost.views.pair_view, selfboost.views.terminal;"
        "print_summary(Path(sys.argv[1])); write_report(Path(sys.argv[1]));"
        "assert not {'torch', 'transformers', 'scipy', 'numpy', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(finished_run())], check=True, capture_output=True)


def entry(number: int, *notes: Note) -> IterationSummary:
    kept_notes = {note.kept_as: kept(note) for note in notes}
    return IterationSummary(
        iteration=number, policy="", decision="promoted", why="", pairs=0, measures={}, validation={}, notes=kept_notes
    )


def test_the_filter_s_and_the_search_s_choices_are_told_by_iteration() -> None:
    first = entry(1, PairYield(pass_rate=0.25), BetaSearched(chosen=2.0, tried={"2": 0.5}))
    assert choices([entry(0), first, entry(2, PairYield(pass_rate=0.5), BetaSearched(chosen=10.0))]) == [
        "25.0 %, 50.0 % of the candidate pairs passed the filter, by iteration.",
        "The search chose beta 2, 10, by iteration.",
    ]
    assert choices([entry(0), entry(1, GoldPairs(counts={"kept": 3}))]) == []
