"""Experiment trackers: every logged row of a training, sent to TensorBoard, Weights & Biases or Trackio as well.

Each is the library's own client, imported only when it is named. Their files lie beside the run, never inside a model's
folder, whose content must not depend on them. Only numbers are sent.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from selfboost.extras import require
from selfboost.train.local_settings import TrackerName

MODULES: Mapping[TrackerName, str] = {
    "tensorboard": "torch.utils.tensorboard",
    "wandb": "wandb",
    "trackio": "trackio",
}


@dataclass(frozen=True)
class Tracked:
    """What a tracker learns of a training before it starts."""

    project: str
    name: str
    """Stays the same when a killed training resumes."""
    folder: Path
    """Where a tracker may write."""
    settings: Mapping[str, Any]
    steps_done: int


class Tracker(Protocol):
    """Receives the rows of a training's history."""

    def log(self, row: Mapping[str, float]) -> None:
        """Send one row; `step` is among its columns."""
        ...

    def close(self) -> None:
        """The training has ended, finished or failed."""
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
        module = require_tracker(library)
        self._run = module.init(project=tracked.project, name=tracked.name, config=dict(tracked.settings), **own)

    def log(self, row: Mapping[str, float]) -> None:
        """One row."""
        self._run.log({name: value for name, value in row.items() if name != "step"}, step=int(row["step"]))

    def close(self) -> None:
        """Flush."""
        self._run.finish()


def require_tracker(name: TrackerName) -> Any:
    """A tracker's library, or an error that says how to install it."""
    return require(MODULES[name], extra=name, setting=f"trainer.trackers = [{name!r}]", library=name)


@contextmanager
def tracking(names: Sequence[TrackerName], tracked: Tracked) -> Generator[list[Tracker]]:
    """The named trackers, opened; always closed at the end.

    Raises:
        ValueError: one is not installed; says how to install it.
    """
    opened: list[Tracker] = []
    try:
        for name in names:
            opened.append(TensorBoard(tracked) if name == "tensorboard" else Online(name, tracked))
        yield opened
    finally:
        for tracker in opened:
            tracker.close()
