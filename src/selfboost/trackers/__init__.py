"""Experiment trackers: rows of trainings and runs, sent to TensorBoard, Weights & Biases, Trackio or MLflow as well.

Each is the library's own client, imported only when it is named. Their files lie beside the run, never inside a model's
folder, whose content must not depend on them. Numbers are sent, and the sentences of alarms; prompts and answers only
in tables of samples, which are off unless asked for.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from selfboost.extras import require

TrackerName = Literal["tensorboard", "wandb", "trackio", "mlflow"]
"""The supported experiment trackers."""
MODULES: Mapping[TrackerName, str] = {
    "tensorboard": "torch.utils.tensorboard",
    "wandb": "wandb",
    "trackio": "trackio",
    "mlflow": "mlflow",
}

Table = Sequence[Mapping[str, str | float | None]]
"""Rows of a table: column → cell, the same columns in each."""


@dataclass(frozen=True)
class Tracked:
    """What a tracker learns of a training or a run before the first row."""

    project: str
    name: str
    """Stays the same when a killed training or run resumes."""
    folder: Path
    """Where a tracker may write."""
    settings: Mapping[str, Any]
    steps_done: int


class Tracker(Protocol):
    """Receives the rows of a training's history, or of a run's iterations."""

    def log(self, row: Mapping[str, float]) -> None:
        """Send one row; `step` is among its columns."""
        ...

    def note(self, title: str, sentence: str, step: int) -> None:
        """Send a sentence, such as an alarm's."""
        ...

    def table(self, title: str, rows: Table, step: int) -> None:
        """Send a table of texts and numbers, such as samples."""
        ...

    def close(self) -> None:
        """There are no more rows."""
        ...


class TensorBoard:
    """Event files under `folder/project/name`."""

    def __init__(self, tracked: Tracked) -> None:
        place = tracked.folder / tracked.project / tracked.name
        writer = require_tracker("tensorboard").SummaryWriter
        self._writer: Any = writer(str(place), purge_step=tracked.steps_done + 1)

    def log(self, row: Mapping[str, float]) -> None:
        """Write one scalar per column."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))

    def note(self, title: str, sentence: str, step: int) -> None:
        """A text beside the scalars."""
        self._writer.add_text(title, sentence, step)

    def table(self, title: str, rows: Table, step: int) -> None:
        """A text in Markdown."""
        self._writer.add_text(title, _markdown(rows), step)

    def close(self) -> None:
        """Flush."""
        self._writer.close()


class Online:
    """A run of wandb, or of trackio, which has the same interface."""

    def __init__(self, library: Literal["wandb", "trackio"], tracked: Tracked) -> None:
        own: dict[str, Any] = {"resume": "allow"}
        if library == "wandb":
            tracked.folder.mkdir(parents=True, exist_ok=True)
            own |= {"id": tracked.name, "dir": str(tracked.folder)}
        self._library, self._module = library, require_tracker(library)
        self._run = self._module.init(project=tracked.project, name=tracked.name, config=dict(tracked.settings), **own)

    def log(self, row: Mapping[str, float]) -> None:
        """One row."""
        self._run.log({name: value for name, value in row.items() if name != "step"}, step=int(row["step"]))

    def note(self, title: str, sentence: str, step: int) -> None:
        """An alert."""
        self._module.alert(title=title, text=f"{sentence} (step {step})")

    def table(self, title: str, rows: Table, step: int) -> None:
        """A table of the library's own; Trackio reads its cells as Markdown."""
        plain = _plain if self._library == "trackio" else str
        cells = [[plain(cell) if isinstance(cell, str) else cell for cell in row.values()] for row in rows]
        self._run.log({title: self._module.Table(columns=list(rows[0]), data=cells)}, step=step)

    def close(self) -> None:
        """Flush."""
        self._run.finish()


class MLflow:
    """A run of MLflow, at `MLFLOW_TRACKING_URI` or MLflow's own place; one of its name is continued."""

    def __init__(self, tracked: Tracked) -> None:
        module = require_tracker("mlflow")
        self._metric: Any = module.entities.Metric
        self._client: Any = module.MlflowClient()
        found = self._client.get_experiment_by_name(tracked.project)
        experiment = found.experiment_id if found else self._client.create_experiment(tracked.project)
        named = f"tags.`mlflow.runName` = '{tracked.name}'"
        earlier = self._client.search_runs([experiment], named)
        run = earlier[0] if earlier else self._client.create_run(experiment, run_name=tracked.name)
        self._run: str = run.info.run_id
        if not earlier:
            for name, value in tracked.settings.items():
                self._client.log_param(self._run, name, value)

    def log(self, row: Mapping[str, float]) -> None:
        """One metric per column."""
        now, step = int(1000 * time.time()), int(row["step"])
        metrics = [self._metric(name, float(value), now, step) for name, value in row.items() if name != "step"]
        self._client.log_batch(self._run, metrics=metrics)

    def note(self, title: str, sentence: str, step: int) -> None:
        """A tag of the run."""
        self._client.set_tag(self._run, f"{title}, step {step}", sentence)

    def table(self, title: str, rows: Table, step: int) -> None:
        """A table among the run's artifacts, which MLflow writes through pandas."""
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        self._client.log_table(self._run, columns, f"{title}-{step}.json")

    def close(self) -> None:
        """The run stays open for a later row until then."""
        self._client.set_terminated(self._run)


def _markdown(rows: Table) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [["" if cell is None else _plain(str(cell)) for cell in row.values()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Text that Markdown and HTML show as it is, in a line: answers may hold links to anywhere."""
    escaped = re.sub(r"([\\`*_\[\]()!|#])", r"\\\1", text)
    return "<br>".join(html.escape(escaped, quote=False).splitlines())


def require_tracker(name: TrackerName) -> Any:
    """A tracker's library, or an error that says how to install it."""
    return require(MODULES[name], extra=name, setting=f"trackers = [{name!r}]", library=name)


def _opened(name: TrackerName, tracked: Tracked) -> Tracker:
    if name == "tensorboard":
        return TensorBoard(tracked)
    return MLflow(tracked) if name == "mlflow" else Online(name, tracked)


@contextmanager
def tracking(names: Sequence[TrackerName], tracked: Tracked) -> Generator[list[Tracker]]:
    """The named trackers, opened; always closed at the end.

    Raises:
        ValueError: one is not installed; says how to install it.
    """
    opened: list[Tracker] = []
    try:
        for name in names:
            opened.append(_opened(name, tracked))
        yield opened
    finally:
        for tracker in opened:
            tracker.close()
