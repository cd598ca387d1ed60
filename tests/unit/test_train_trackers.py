"""Trackers get the rows of the history as they are, from the libraries' own clients read back where they are here."""

import json
import re
import sys
from dataclasses import dataclass, field

import pytest
import torch
from train_records import examples, silent
from transformers import AutoModelForCausalLM

from selfboost.recipe_text import known_by
from selfboost.trackers import Tracked, tracking
from selfboost.train import Training
from selfboost.train.local import Local
from selfboost.train.model.logprobs import language_model
from selfboost.train.packs.rows import example_items
from selfboost.train.steps.checkpoints import StateFolder
from selfboost.train.steps.objectives import LikelihoodObjective
from selfboost.train.steps.training_loop import Pace, TrainingLoop

torch.set_num_threads(1)
TRAINING = Training(learning_rate=1e-3, batch_size=4, epochs=2, max_length=64)


def finetune(start, into, local, progress=silent):
    into.mkdir(parents=True, exist_ok=True)
    return local.finetune(start, examples(), TRAINING, into=into, seed=0, progress=progress)


@dataclass
class Notebook:
    """Somebody's own tracker."""

    rows: list = field(default_factory=list)

    def log(self, row):
        self.rows.append(dict(row))

    def close(self):
        self.rows.append("closed")


def test_anyone_can_listen(start, tmp_path):
    items = example_items(examples(), 64)
    bare = AutoModelForCausalLM.from_pretrained(start.path).eval()
    pace = Pace(tokens=4096, checkpoint_seconds=0, checkpoint_steps=0, log_every=2)
    objective = LikelihoodObjective(language_model(bare, Local()))
    loop = TrainingLoop(bare, objective, items, TRAINING, pace, StateFolder(tmp_path, "identity"), 0)
    first, second = Notebook(), Notebook()
    result = loop.run(silent, [first, second], {})
    assert first.rows == second.rows == list(result.history)
    assert [row["step"] for row in first.rows] == [2, 4, 5]


def tracked(tmp_path, **settings):
    return Local(tracking_folder=str(tmp_path / "tracking"), tracking_project="tests", **settings)


class Killed(BaseException):
    """Stands for SIGKILL."""


def die_at(step):
    def progress(done, total, tokens):
        if done == step:
            raise Killed

    return progress


def test_tensorboard_holds_the_history_once_even_after_a_kill(start, tmp_path):
    pytest.importorskip("tensorboard", reason="needs the extra `tensorboard`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    into = tmp_path / "iteration-1" / "policy.partial-12345678" / "model"
    local = tracked(tmp_path, trackers=("tensorboard",), checkpoint_seconds=0, checkpoint_steps=2)
    with pytest.raises(Killed):
        finetune(start, into, local, die_at(3))
    result = finetune(start, into, local)
    (folder,) = (tmp_path / "tracking" / "tests").iterdir()
    assert re.fullmatch(r".+-iteration-1-policy-[0-9a-f]{8}", folder.name)  # the run's own folder comes first
    read = EventAccumulator(str(folder)).Reload()
    assert set(read.Tags()["scalars"]) == set(result.history[0]) - {"step"}
    for name in ("loss", "gradient_norm", "learning_rate"):
        events = read.Scalars(name)
        assert [event.step for event in events] == [row["step"] for row in result.history]
        assert [event.value for event in events] == pytest.approx([row[name] for row in result.history], rel=1e-6)
    assert not any("tfevents" in path.name for path in into.rglob("*"))


def records_of(content):
    """The records of wandb's own file: LevelDB's log format after seven bytes of its own, in blocks of 32 KiB."""
    records, record = [], b""
    for block in range(0, len(content), 2**15):
        at, end = block or 7, min(block + 2**15, len(content))
        while end - at > 7:
            length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
            record += content[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):  # whole, or the last part
                records.append(record)
                record = b""
    return records


def test_wandb_holds_the_history(start, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="needs the extra `wandb`")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    result = finetune(start, tmp_path / "out" / "model", tracked(tmp_path, trackers=("wandb",)))
    assert wandb.run is None  # finished
    (file,) = (tmp_path / "tracking").rglob("*.wandb")
    rows = []
    for record in map(Record.FromString, records_of(file.read_bytes())):
        if record.HasField("history"):
            row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            rows.append({name.replace("_step", "step"): row[name] for name in row if name[0] != "_" or name == "_step"})
    assert rows == [pytest.approx(dict(row)) for row in result.history]


def test_trackio_holds_the_history(start, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="needs the extra `trackio`")
    result = finetune(start, tmp_path / "out" / "model", tracked(tmp_path, trackers=("trackio",)))
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = SQLiteStorage.get_runs("tests")
    rows = SQLiteStorage.get_logs("tests", run)
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in result.history])


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("tensorboard", "torch.utils.tensorboard"),
        ("wandb", "wandb"),
        ("trackio", "trackio"),
        ("mlflow", "mlflow"),
    ],
)
def test_without_the_library_one_sentence_says_how_to_install_it(start, tmp_path, name, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)  # as where it is not installed
    message = rf"trackers = \['{name}'\] needs {name}, .*: pip install 'selfboost\[{name}\]'$"
    with pytest.raises(ValueError, match=message):
        finetune(start, tmp_path / "out", tracked(tmp_path, trackers=(name,)))
    assert list((tmp_path / "out").iterdir()) == []


def test_trackers_are_no_part_of_what_a_result_is_known_by():
    assert known_by(Local(trackers=("wandb",), tracking_project="mine", tracking_folder="there")) == known_by(Local())


def test_no_tracker_leaves_no_trace(tmp_path):
    nothing = Tracked(project="tests", name="name", folder=tmp_path / "tracking", settings={}, steps_done=0)
    with tracking((), nothing) as trackers:
        assert trackers == []
    assert list(tmp_path.iterdir()) == []
