"""A run's results: `run.json`, as the loop writes it and everything else reads it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import TypeAdapter, ValidationError

from selfboost import store
from selfboost.disk.files import read_bytes
from selfboost.disk.json_files import read_json, write_json
from selfboost.disk.locks import check_held
from selfboost.drift import Drift
from selfboost.measures import Declared, Estimated, Measure, Measures
from selfboost.notes import Kept, SomeNote, read_note
from selfboost.results.environment import Environment
from selfboost.results.first_format import is_first_format, modernised

SEPARATORS = re.compile(r"[/\\:]")
"""Between the parts of a path, on some system."""
SUMMARY, RECIPE, REPORT = "run.json", "recipe.toml", "report.html"
Decision = Literal["initial", "promoted", "kept", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """One iteration's results."""

    iteration: int
    policy: str
    """Folder of the policy after this iteration, relative to the run's where it lies inside it."""
    decision: Decision
    why: str
    pairs: int
    """Pairs the candidate was trained on."""
    measures: Measures
    """On the held-out prompts, of this iteration's candidate; gains against the initial model."""
    validation: Measures
    """On the validation prompts, which decisions are based on."""
    notes: Kept = field(default_factory=dict[str, Any])
    """The method's notes by name; `note` returns them typed."""
    agreement: float | None = None
    """Mean difference of the sampler's and the trainer's log-probabilities, in nats per token."""
    drift: Drift = field(default_factory=Drift)
    """How far the candidate has drifted from the initial model; empty in folders of earlier versions."""

    def note(self, kind: type[SomeNote]) -> SomeNote | None:
        """The note of a kind; None if the method left none."""
        return read_note(self.notes, kind)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A model measured beside the policy."""

    name: str
    policy: str
    """Its folder, relative to the run's where it lies inside it."""
    measures: Measures
    """On the held-out prompts; gains against the initial model."""
    policy_over_it: Estimated = field(default_factory=Estimated)
    """The policy's gain over it, by the gate's measure."""
    drift: Drift = field(default_factory=Drift)
    """How far it has drifted from the initial model, without what needs the models."""

    @property
    def place(self) -> str:
        """The folder of its stages."""
        return beside_place(self.name)


@dataclass(frozen=True, kw_only=True)
class Results:
    """All of `run.json`."""

    status: str = ""
    """`starting`, `running`, `stopped` (by Ctrl-C or SIGTERM), `finished` or `failed`."""
    method: str = ""
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    """Of the run's process and of those of this machine that sample and score for it, summed; followers of a training
    are not counted."""
    gate_measure: str = ""
    declared: Declared = field(default_factory=dict[str, Measure])
    """The measures with titles, units and directions."""
    seeds: tuple[int, ...] = ()
    """How many seeds, validation and held-out prompts there are."""
    said: tuple[str, ...] = ()
    """Sentences for the user about model and seed."""
    iterations: tuple[Iteration, ...] = ()
    beside: tuple[Beside, ...] = ()
    environments: tuple[Environment, ...] = ()
    """What the run's processes worked with, in order; a process that was like the one before adds nothing."""
    error: str = ""
    """The error of a failed run, in a sentence."""


def beside_place(name: str) -> str:
    """The folder of stages of a model measured beside the policy; no system takes its name for a path."""
    return f"beside-{SEPARATORS.sub('-', name)}"


def write(root: Path, results: Results) -> None:
    """Write `run.json`, with `error` only if there is one."""
    check_held(root)
    kept = asdict(results)
    if not results.error:
        del kept["error"]
    write_json(root / SUMMARY, kept)


def holds_run(root: Path) -> bool:
    """Whether a folder holds what a run writes first."""
    return (root / SUMMARY).exists() or (root / store.STAGES).is_dir()


def check_is_run(root: Path) -> None:
    """Refuse a folder that is no run's.

    Raises:
        ValueError: it holds nothing that a run writes first.
    """
    if not any((root / name).exists() for name in (SUMMARY, RECIPE, store.STAGES)):
        raise ValueError(
            f"{root}: is not a run's folder (it holds neither {SUMMARY} nor {RECIPE}); give the --into of a run"
        )


def read(root: Path) -> Results:
    """Read a run's `run.json`, of version 0.1.0 too; a run that has none yet is `starting`.

    Raises:
        ValueError: the folder is not a run's, or one of its files is damaged.
    """
    path = root / SUMMARY
    if not path.exists():
        check_is_run(root)
        return Results(status="starting")
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(cast(dict[str, Any], found).get("iterations"), list):
        raise ValueError(f"{path}: is damaged (no list of iterations)")
    try:
        if is_first_format(cast(dict[str, Any], found)):
            found = modernised(cast(dict[str, Any], found), recipe_table(root))
        return _adapter().validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: is damaged ({where}: {first['msg'].lower()})") from error


def recipe_table(root: Path) -> Mapping[str, Any]:
    """The run's recipe as a TOML table; empty if there is none.

    Raises:
        ValueError: the file is damaged.
    """
    path = root / RECIPE
    try:
        return tomllib.loads(read_bytes(path).decode()) if path.exists() else {}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is damaged ({error})") from error


def recorded_date(root: Path) -> str:
    """The day that a run in this folder has shown to its templates, as its recipe holds it; empty if there is none."""
    try:
        found: object = recipe_table(root).get("run", {}).get("date", "")
        return date.fromisoformat(str(found)).isoformat()
    except (ValueError, AttributeError, OSError):  # the run writes a damaged or old recipe anew
        return ""


@cache
def _adapter() -> TypeAdapter[Results]:
    return TypeAdapter(Results)
