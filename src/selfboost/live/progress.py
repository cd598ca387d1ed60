"""What a run is doing, how far it is, and how long the rest may take, from the files of its folder alone.

A stage's total is that of the same stage in an earlier iteration, or of the answers that it scores; times are those of
the newest complete iteration. Where neither is known, nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from selfboost.disk.json_files import flat
from selfboost.live.texts import SCORES
from selfboost.results import beside_place
from selfboost.views.summary import RunSummary, StageSummary

UNMEASURED = 86_400.0
"""A stage that was left open longer ago than this, in seconds, says nothing about its pace."""


@dataclass(frozen=True, kw_only=True)
class StageInProgress:
    """A stage that is being made."""

    name: str
    rows: int
    total: int | None
    """None where it is not known."""
    seconds: float
    """Since the stage before it was finished."""
    left: float | None
    """Seconds; None where it is not known."""


@dataclass(frozen=True, kw_only=True)
class RemainingTime:
    """How far the whole run is."""

    seconds: float
    share: float
    """Of its time that is over."""
    basis: str


def open_stage(name: str, rows: int, seconds: float, finished: Sequence[StageSummary]) -> StageInProgress:
    """What is known of an open stage; `finished` are the run's finished stages."""
    like = next((stage for stage in reversed(finished) if _part(stage.name) == _part(name)), None)
    scored = next((stage for stage in finished if name == stage.name + SCORES), None)
    known = scored or like
    left = None
    if like is not None and like.verb in ("finetune", "prefer"):  # its rows are all there from the beginning
        left = like.seconds - seconds if seconds < like.seconds else None
    elif known is not None and 0 < rows <= known.rows and seconds < UNMEASURED:
        left = (known.rows - rows) * seconds / rows
    return StageInProgress(name=name, rows=rows, total=known and known.rows, seconds=seconds, left=left)


def time_left(run: RunSummary, opened: Sequence[StageInProgress]) -> RemainingTime | None:
    """How long the run may still take; None before its first iteration is complete, or where it does not run."""
    complete = [entry for entry in run.iterations if entry.iteration > 0]
    rounds = _rounds(run.recipe)
    if run.status != "running" or not complete or rounds is None:
        return None
    newest = complete[-1]
    seconds = {_part(stage.name): stage.seconds for stage in newest.stages}
    current = f"iteration-{newest.iteration + 1}/"
    done = {_part(stage.name) for stage in run.further if stage.name.startswith(current)}
    begun = {_part(each.name): each for each in opened}
    rest = sum(value for name, value in seconds.items() if name not in done and name not in begun)
    rest += sum(_left(each, seconds.get(name, 0.0)) for name, each in begun.items())
    later = max(rounds - newest.iteration - 1, 0) * sum(seconds.values())
    left = (rest if newest.iteration < rounds else 0.0) + later + _beside(run)
    spent = sum(stage.seconds for entry in run.iterations for stage in entry.stages)
    spent += sum(stage.seconds for stage in (*run.prepare, *run.further))
    spent += sum(each.seconds for each in opened[-1:])  # of several, all but one were left by earlier processes
    basis = f"at the pace of iteration {newest.iteration}; a run without progress stops earlier"
    return RemainingTime(seconds=left, share=spent / max(spent + left, 1e-9), basis=basis)


def _left(opened: StageInProgress, before: float) -> float:
    """Seconds that an open stage may still take; `before`: it took those in the iteration before."""
    return max(before - opened.seconds, 0.0) if opened.left is None else opened.left


def _part(stage: str) -> str:
    """A stage's name without its iteration."""
    return stage.partition("/")[2] if stage.startswith("iteration-") else stage


def _rounds(recipe: Mapping[str, Any]) -> int | None:
    found = flat(recipe).get("run.iterations")
    return found if isinstance(found, int) else None


def _beside(run: RunSummary) -> float:
    """Seconds for the models that are still to be measured beside the policy, as long as the initial model took."""
    found = flat(run.recipe).get("run.beside")
    names = [str(name) for name in cast(list[Any], found)] if isinstance(found, list) else []
    measured = {model.place for model in run.beside}
    waiting = [name for name in names if beside_place(name) not in measured]
    first = sum(stage.seconds for stage in run.iterations[0].stages) if run.iterations else 0.0
    return len(waiting) * first
