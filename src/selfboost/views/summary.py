"""What a folder says about its run, finished, running or killed: one typed object, `selfboost.load_run(folder)`.

Reads `run.json`, the recipe and the stages' cards; computes nothing new.
"""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from selfboost import results, store
from selfboost.disk import files
from selfboost.disk.record_files import lines_in
from selfboost.extras import frame
from selfboost.measures import Declared, Measure, Measures
from selfboost.notes import words
from selfboost.results import Beside, Iteration
from selfboost.results.best_model import LINK, best_model
from selfboost.results.environment import Environment
from selfboost.stages import WEIGHTS
from selfboost.system import is_running
from selfboost.train.local_settings import STATE


@dataclass(frozen=True, kw_only=True)
class StageSummary:
    """A finished stage."""

    name: str
    verb: str
    rows: int
    tokens: int
    seconds: float
    fingerprint: str
    file: str
    """The file that holds the result, relative to the run's folder."""


@dataclass(frozen=True, kw_only=True)
class UnfinishedStage:
    """A stage that was begun, and what is kept of it."""

    name: str
    rows: int
    """Rows that are written."""
    step: int = 0
    """The step after which a training's newest state was saved; 0 where there is none."""


@dataclass(frozen=True, kw_only=True)
class IterationSummary(Iteration):
    """An iteration with its stages; `policy` can be opened from anywhere."""

    stages: tuple[StageSummary, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BesideSummary(Beside):
    """A model measured beside the policy with its stages; `policy` can be opened from anywhere."""

    stages: tuple[StageSummary, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """Everything that a folder says about its run."""

    recipe: Mapping[str, Any]
    """The recipe, as parsed from TOML."""
    status: str
    """`starting`, `running`, `stopped` (its process is gone), `failed` or `finished`."""
    error: str
    method: str
    seconds: float
    peak_memory_bytes: int
    gate_measure: str
    declared: Declared
    """The measures: their titles, units and directions; `measure` looks one up by name."""
    seeds: tuple[int, ...]
    """How many seeds, validation and held-out prompts there are."""
    said: tuple[str, ...]
    """Sentences about the model and the seed that the user must know."""
    warnings: tuple[str, ...]
    """Warnings from the stages, in sentences."""
    iterations: tuple[IterationSummary, ...]
    beside: tuple[BesideSummary, ...] = ()
    further: tuple[StageSummary, ...] = ()
    """Stages of unfinished iterations, or of a longer run with an earlier recipe."""
    prepare: tuple[StageSummary, ...] = field(default=())
    """Stages shared by all iterations."""
    environments: tuple[Environment, ...] = ()
    """What the run's processes worked with, in order."""
    unfinished: tuple[UnfinishedStage, ...] = ()
    """Stages that were begun."""
    model: str = ""
    """`DIR/model`, which leads to the best model; empty while that is the initial one."""

    @property
    def policy(self) -> IterationSummary | None:
        """The iteration whose candidate is the policy now; None where nothing has been measured."""
        return next((i for i in reversed(self.iterations) if i.decision in ("promoted", "initial")), None)

    @property
    def gate(self) -> Measure:
        """The measure that decides."""
        return self.measure(self.gate_measure)

    def measure(self, name: str) -> Measure:
        """A measure by its name; an undeclared one is a plain score."""
        return self.declared.get(name) or Measure(title=words(name))

    @property
    def every_stage(self) -> tuple[StageSummary, ...]:
        """All finished stages."""
        models = (*self.iterations, *self.beside)
        return (*self.prepare, *(stage for model in models for stage in model.stages), *self.further)

    def to_pandas(self) -> Any:
        """A data frame with a row for each model, split and measure; shares are from 0 to 1.

        Columns: model (the iteration's number, or a name), decision, split, measure, title, unit, value, low, high,
        gain, gain_low, gain_high; the gain is that over the initial model.

        Raises:
            ValueError: pandas is not installed.
        """
        rows: list[dict[str, Any]] = []
        for entry in self.iterations:
            known = {"model": str(entry.iteration), "decision": entry.decision}
            rows += self._rows({**known, "split": "held_out"}, entry.measures)
            rows += self._rows({**known, "split": "validation"}, entry.validation)
        for entry in self.beside:
            rows += self._rows({"model": entry.name, "decision": "beside", "split": "held_out"}, entry.measures)
        return frame(rows)

    def stages_to_pandas(self) -> Any:
        """A data frame with a row for each finished stage.

        Columns: name, verb, rows, tokens, seconds, fingerprint, file.

        Raises:
            ValueError: pandas is not installed.
        """
        return frame([vars(stage) for stage in self.every_stage])

    def _rows(self, known: Mapping[str, Any], measures: Measures) -> Iterator[dict[str, Any]]:
        for name, row in measures.items():
            declared = self.measure(name)
            yield {**known, "measure": name, "title": declared.title, "unit": declared.unit, **vars(row)}


def summary(root: Path) -> RunSummary:
    """Everything that a folder says about its run.

    Raises:
        ValueError: the folder is not a run's, or one of its files is damaged.
    """
    found, cards = results.read(root), store.cards(root)
    places: dict[str, list[StageSummary]] = {}
    for card in cards:
        places.setdefault(card.name.partition("/")[0], []).append(_stage(card))

    def with_stages(entry: Iteration | Beside, place: str) -> dict[str, Any]:
        return {**vars(entry), "policy": _policy(root, entry.policy), "stages": tuple(places.pop(place, ()))}

    iterations = [IterationSummary(**with_stages(i, f"iteration-{i.iteration}")) for i in found.iterations]
    beside = [BesideSummary(**with_stages(model, model.place)) for model in found.beside]
    further = [name for name in places if name.startswith(("iteration-", "beside-"))]
    return RunSummary(
        recipe=results.recipe_table(root),
        status=_status(root, found.status),
        error=found.error,
        method=found.method,
        seconds=found.seconds,
        peak_memory_bytes=found.peak_memory_bytes,
        gate_measure=found.gate_measure,
        declared=found.declared,
        seeds=found.seeds,
        said=found.said,
        warnings=tuple(f"{card.name}: {warning}" for card in cards for warning in card.warnings),
        iterations=tuple(iterations),
        beside=tuple(beside),
        further=tuple(stage for name in further for stage in places[name]),
        prepare=tuple(stage for name, stages in places.items() if name not in further for stage in stages),
        environments=found.environments,
        unfinished=tuple(_unfinished(root)),
        model=str(root / LINK) if best_model(root) else "",
    )


def as_json(found: RunSummary) -> dict[str, Any]:
    """A summary as strict JSON: infinities become the texts `inf` and `-inf`, which float() reads back."""
    return cast(dict[str, Any], _plain(asdict(found)))


def _policy(root: Path, policy: str) -> str:
    folder = root / policy
    return str(folder.resolve()) if folder.exists() else policy


def _status(root: Path, status: str) -> str:
    """The stored status, or `stopped` if the process that wrote the folder is gone."""
    lock = root / "lock"
    held = lock.read_text(encoding="utf-8", errors="replace") if lock.exists() else ""
    owner = re.match(r"process (\d+) on (\S+) ", held)
    if status in ("finished", "failed") or owner is None or owner[2] != socket.gethostname():
        return status
    return status if is_running(int(owner[1])) else "stopped"


def _unfinished(root: Path) -> Iterator[UnfinishedStage]:
    """Stages in their partial folders, without those that were set aside."""
    stages = root / store.STAGES
    for folder in sorted(stages.rglob(f"*{store.PARTIAL}*")):
        name, _, rest = folder.relative_to(stages).as_posix().partition(store.PARTIAL)
        if folder.is_dir() and "/" not in rest and files.BROKEN not in rest:
            rows = folder / store.ROWS
            states = (folder / WEIGHTS / STATE).glob("step-*")
            steps = [int(found[1]) for path in states if (found := re.match(r"step-(\d+)", path.name))]
            yield UnfinishedStage(
                name=name, rows=len(lines_in(rows)) if rows.exists() else 0, step=max(steps, default=0)
            )


def _stage(card: store.StageCard) -> StageSummary:
    return StageSummary(
        name=card.name,
        verb=card.verb,
        rows=card.rows,
        tokens=card.tokens,
        seconds=card.seconds,
        fingerprint=card.fingerprint,
        file=card.file,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in cast(Mapping[str, Any], value).items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in cast(Iterable[Any], value)]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
