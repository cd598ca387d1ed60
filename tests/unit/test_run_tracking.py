"""A run's iterations at trackers: each is sent once, with the numbers of run.json; a tracker's failure ends no run."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from small_run import finished_run, make_run

from selfboost import recipe, results, store
from selfboost.loop import boost
from selfboost.records import Answer
from selfboost.results.kinds import by_kind
from selfboost.results.tracked import row_of
from selfboost.stages import Silent
from selfboost.trackers import _plain


class Heard(Silent):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


class Library(ModuleType):
    """What of Trackio's interface is used, keeping all that it gets."""

    def __init__(self, broken: bool = False) -> None:
        super().__init__("trackio")
        self.rows: list[tuple[str, int, dict[str, float]]] = []
        self.open, self.broken, self.alerts = 0, broken, list[str]()
        self.tables: list[tuple[int, dict[str, Any]]] = []

    def init(self, *, project: str, name: str, config: dict[str, Any], resume: str) -> "Library":
        assert (project, resume) == ("mine", "allow")
        assert config["method.kind"] == "spin"
        self.name, self.open = name, self.open + 1
        return self

    def Table(self, *, columns: list[str], data: list[list[Any]]) -> dict[str, Any]:
        return {"columns": columns, "data": data}

    def log(self, row: dict[str, Any], step: int) -> None:
        if self.broken:
            raise OSError("no network")
        if "samples" in row:
            self.tables.append((step, row["samples"]))
            return
        self.rows.append((self.name, step, row))

    def alert(self, title: str, text: str) -> None:
        self.alerts.append(title)

    def finish(self) -> None:
        self.open -= 1


SETTINGS = ("run.trackers=['trackio']", "run.tracking_project=mine")


def test_a_row_has_the_numbers_of_run_json() -> None:
    iteration = results.read(finished_run()).iterations[1]
    cards = [card for card in store.cards(finished_run()) if card.name.startswith("iteration-1/")]
    row, found = row_of(iteration, cards), iteration.measures["sampled"]
    assert (row["step"], row["pairs"], row["promoted"]) == (1, iteration.pairs, 1.0)
    kept = [row[f"held_out/sampled{end}"] for end in ("", "_low", "_high")]
    assert kept == [found.value, found.low, found.high]
    assert row["held_out/sampled_gain"] == found.gain
    assert {name: row[f"seconds/{name}"] for name in by_kind(cards)} == by_kind(cards)
    assert row["drift/length_ratio"] == iteration.drift.value("length_ratio")
    assert all(isinstance(value, float | int) for value in row.values())


def test_each_iteration_is_sent_once_however_often_the_run_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    monkeypatch.setitem(sys.modules, "trackio", library)
    root = make_run(tmp_path, None, *SETTINGS)
    assert [(step, row["pairs"]) for _, step, row in library.rows] == [
        (0, 0),
        (1, results.read(root).iterations[1].pairs),
    ]
    assert len({name for name, _, _ in library.rows}) == 1
    boost(recipe.read(tmp_path / "small.toml", [*SETTINGS, "run.iterations=2"]), root, Silent())
    assert [step for _, step, _ in library.rows] == [0, 1, 2]
    assert (library.open, library.tables) == (0, [])  # no text unless asked for
    alarms = sum(len(entry.drift.alarms) for entry in results.read(root).iterations)
    assert len(library.alerts) == alarms


def test_a_tracker_that_fails_ends_no_run_and_one_that_is_missing_starts_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", Library(broken=True))
    heard = Heard()
    root = make_run(tmp_path, heard, *SETTINGS)
    assert results.read(root).status == "finished"
    assert "iteration 1 was not sent to trackio: no network" in heard.said
    monkeypatch.setitem(sys.modules, "trackio", None)
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match=r"trackers = \['trackio'\] needs trackio, .*: pip install"):
        make_run(tmp_path / "other", None, *SETTINGS)
    assert not (tmp_path / "other" / "run" / "stages").exists()


def answers_of(root: Path, iteration: int) -> dict[str, Answer]:
    """Prompt's id → the first held-out answer to it."""
    (card,) = (c for c in store.cards(root) if c.name == f"iteration-{iteration}/held_out-sampled")
    return {answer.prompt.id: answer for answer in reversed(store.read_rows(root, card, Answer))}


def test_a_table_has_the_same_prompts_in_each_iteration_with_gold_and_both_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    monkeypatch.setitem(sys.modules, "trackio", library)
    root = make_run(tmp_path, None, *SETTINGS, "run.tracking_samples=3")
    assert [step for step, _ in library.tables] == [0, 1]
    first, own = answers_of(root, 0), answers_of(root, 1)
    for step, table in library.tables:
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        assert len(rows) == 3
        for row in rows:
            prompt = row["prompt_id"]
            number = row["prompt"].split()[2]
            assert row["gold"] == f"good word {number} &amp; more"
            answers = (row["initial_answer"], row["answer"])
            assert answers == tuple(map(_plain, (first[prompt].text, (own if step else first)[prompt].text)))
            assert row["score"] in (0.0, 1.0, None)
    assert [row[0] for row in library.tables[0][1]["data"]] == [row[0] for row in library.tables[1][1]["data"]]


def test_texts_mean_nothing_to_markdown_and_html() -> None:
    assert _plain("![x](http://a.b/c)|<img src=x>\nnext") == (r"\!\[x\]\(http://a.b/c\)\|&lt;img src=x&gt;<br>next")


def test_tensorboard_holds_the_iterations_and_their_samples(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra `tensorboard`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = ("run.trackers=['tensorboard']", f"run.tracking_folder={tmp_path / 'tracking'}")
    root = make_run(tmp_path, None, *settings, "run.tracking_samples=2")
    (folder,) = (tmp_path / "tracking" / "selfboost").iterdir()
    read = EventAccumulator(str(folder)).Reload()
    wanted = [entry.measures["sampled"].value for entry in results.read(root).iterations]
    assert [event.value for event in read.Scalars("held_out/sampled")] == pytest.approx(wanted)
    texts = [event.tensor_proto.string_val[0].decode() for event in read.Tensors("samples/text_summary")]
    assert [text.count("\n") for text in texts] == [3, 3]  # heading, line, two prompts
    first = min(answers_of(root, 1))
    assert f"| {_plain(answers_of(root, 1)[first].text)} |" in texts[1]


def test_mlflow_holds_the_iterations_and_their_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs the extra `mlflow`")
    pytest.importorskip("pandas", reason="needs the extra `pandas`")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    root = make_run(tmp_path, None, "run.trackers=['mlflow']", "run.tracking_samples=2")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("selfboost").experiment_id
    (run,) = client.search_runs([experiment])
    history = client.get_metric_history(run.info.run_id, "held_out/sampled")
    wanted = [entry.measures["sampled"].value for entry in results.read(root).iterations]
    assert [metric.value for metric in sorted(history, key=lambda each: each.step)] == pytest.approx(wanted)
    assert run.data.params["method.kind"] == "spin"
    table = client.load_table(experiment, "samples-1.json")
    assert [*table.answer] == [answers_of(root, 1)[prompt].text for prompt in table.prompt_id]


def test_trackio_holds_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="needs the extra `trackio`")
    root = make_run(tmp_path, None, "run.trackers=['trackio']", "run.tracking_samples=2")
    from trackio.sqlite_storage import SQLiteStorage

    (name,) = SQLiteStorage.get_runs("selfboost")
    tables = [row["samples"] for row in SQLiteStorage.get_logs("selfboost", name) if "samples" in row]
    assert [table["_type"] for table in tables] == ["trackio.table"] * 2
    shown = [row["answer"] for row in tables[1]["_value"]]
    assert shown == [_plain(answers_of(root, 1)[row["prompt_id"]].text) for row in tables[1]["_value"]]


def test_wandb_holds_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs the extra `wandb`")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    settings = ("run.trackers=['wandb']", f"run.tracking_folder={tmp_path / 'tracking'}")
    root = make_run(tmp_path, None, *settings, "run.tracking_samples=2")
    tables = [json.loads(file.read_text()) for file in (tmp_path / "tracking").rglob("*.table.json")]
    texts = {row[0]: row[5] for table in tables for row in table["data"] if table["columns"][5] == "answer"}
    assert len(tables) == 2
    assert texts.keys() == {*sorted(answers_of(root, 1))[:2]}
