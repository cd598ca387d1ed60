"""A run's iterations at trackers: each is sent once, with the numbers of run.json; a tracker's failure ends no run."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from small_run import finished_run, make_run

from selfboost import recipe, results, store
from selfboost.loop import boost
from selfboost.results.kinds import by_kind
from selfboost.results.tracked import row_of
from selfboost.stages import Silent


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

    def init(self, *, project: str, name: str, config: dict[str, Any], resume: str) -> "Library":
        assert (project, resume) == ("mine", "allow")
        assert config["method.kind"] == "spin"
        self.name, self.open = name, self.open + 1
        return self

    def log(self, row: dict[str, float], step: int) -> None:
        if self.broken:
            raise OSError("no network")
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
    assert library.open == 0
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


def test_tensorboard_holds_the_iterations(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra `tensorboard`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    root = make_run(tmp_path, None, "run.trackers=['tensorboard']", f"run.tracking_folder={tmp_path / 'tracking'}")
    (folder,) = (tmp_path / "tracking" / "selfboost").iterdir()
    read = EventAccumulator(str(folder)).Reload()
    wanted = [entry.measures["sampled"].value for entry in results.read(root).iterations]
    assert [event.value for event in read.Scalars("held_out/sampled")] == pytest.approx(wanted)


def test_mlflow_holds_the_iterations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs the extra `mlflow`")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    root = make_run(tmp_path, None, "run.trackers=['mlflow']")
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("selfboost").experiment_id])
    history = client.get_metric_history(run.info.run_id, "held_out/sampled")
    wanted = [entry.measures["sampled"].value for entry in results.read(root).iterations]
    assert [metric.value for metric in sorted(history, key=lambda each: each.step)] == pytest.approx(wanted)
    assert run.data.params["method.kind"] == "spin"
