"""Prints a plan for 80 columns: stages, costs by kind of work, memory, what is assumed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill

from rich.table import Table
from rich.text import Text

from selfboost.plan import Plan, PlannedStage
from selfboost.plan.cost import WORK, Cost
from selfboost.plan.memory import size_text
from selfboost.plan.placement import Fleet
from selfboost.plan.rows import Bound
from selfboost.views.streams import console
from selfboost.views.visible import visible

SIGNS: Mapping[Bound, str] = {"exact": "", "at most": "≤", "about": "~"}
"""Prefix of a number of rows."""
KINDS_OF_WORK = ("sampling", "training", "scoring")
"""In the order of the tables."""
DOMINANT = 3
"""How many kinds of stages are named as the longest."""


def show_plan(found: Plan) -> None:
    """Print a plan."""
    out = console()
    out.print(_stages(found.stages))
    out.print()
    out.print(_totals(found.stages))
    out.print()
    out.print(_held(found))
    for line in _explained(found):
        out.print(fill(visible(line), out.width - 1, subsequent_indent="  ", break_on_hyphens=False))
    out.print("The recipe is valid.")


def _stages(stages: Iterable[PlannedStage]) -> Table:
    table = _table("stage", "verb", "rows", "tokens", "hours")
    table.columns[0].overflow = "fold"
    for name, some in _folded(stages).items():
        total = sum(stage.mean.tokens for stage in some)
        hours = _hours(stage.mean for stage in some) if some[0].verb in WORK else ""
        rows = f"{f'{len(some)} x ' if len(some) > 1 else ''}{SIGNS[some[0].bound]}{some[0].rows:,}"
        table.add_row(Text(visible(name)), some[0].verb, rows, _short(total) if total else "", hours)
    return table


def _folded(stages: Iterable[PlannedStage]) -> dict[str, list[PlannedStage]]:
    """Stages by name, with those of a beta search folded together."""
    found: dict[str, list[PlannedStage]] = {}
    for stage in stages:
        found.setdefault(re.sub(r"/beta-[^/]+/", "/beta-*/", stage.name), []).append(stage)
    return found


def _totals(stages: Iterable[PlannedStage]) -> Table:
    """Tokens and hours by kind of work, mean and upper bound."""
    table = _table("work", "tokens", "at most", "GPU hours", "at most")
    by_work = {work: [s for s in stages if WORK.get(s.verb) == work] for work in KINDS_OF_WORK}
    for work, some in (by_work | {"all": [stage for part in by_work.values() for stage in part]}).items():
        mean, most = [s.mean for s in some], [s.most for s in some]
        counted = [_short(sum(c.tokens for c in costs)) for costs in (mean, most)]
        table.add_row(work, *(counted if work != "all" else ["", ""]), _hours(mean), _hours(most))
    return table


def _held(found: Plan) -> Table:
    """Wall time by kind of work, the GPUs at work in it, and the hours of those that are idle meanwhile."""
    reserved = found.fleet.gpus
    table = _table("work", "GPUs at work", "wall hours", "GPU hours held", "idle")
    parts = [[s for s in found.stages if WORK.get(s.verb) == work] for work in KINDS_OF_WORK]
    for work, some in zip((*KINDS_OF_WORK, "all"), (*parts, [s for part in parts for s in part]), strict=True):
        used = sorted({stage.gpus for stage in some})
        at_work = f"{used[-1]} of {reserved}" if used and work != "all" else ""
        wall = [stage.wall(stage.mean) for stage in some]
        worked = [cost.hours if stage.gpus else 0.0 for stage in some for cost in (stage.mean,)]
        held = [None if hours is None else hours * reserved for hours in wall]
        idle = [None if h is None or w is None else h - w for h, w in zip(held, worked, strict=True)]
        table.add_row(work, at_work, *map(_sum_text, (wall, held, idle)))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if column in ("stage", "verb", "work") else "right", no_wrap=i > 0)
    return table


def _explained(found: Plan) -> list[str]:
    return [
        *_longest(found.stages),
        *_needs(found),
        "",
        *(f"- {note}" for note in found.notes),
        f"- rows are exact; {_signs(found.stages)}tokens and hours are for sampled answers as long as the seed's, "
        '"at most" for answers as long as they may be',
        *_assumed(found.fleet),
        "- training memory: weights, masters, gradients, moments and a micro-batch's activations; sampling and judges: "
        "weights and a full batch's keys and values; other scorers: weights",
        *(f"does not fit: {sentence}" for sentence in found.misfits),
    ]


def _needs(found: Plan) -> list[str]:
    """Memory and disk."""
    held = ", ".join(f"{work} {size_text(size)}" for work, size in found.memory.items() if size != 0)
    has = f"{found.fleet.hardware.name} has {size_text(found.fleet.hardware.memory)}"
    lines = [
        f"Estimated memory per device: {held} ({has}); of a machine itself: {size_text(found.host_memory)}.",
        f"Estimated disk: {size_text(found.disk)} of trained models, {size_text(found.disk_records)} of records, "
        f"{size_text(found.disk_states)} of saved states while training.",
    ]
    if kept := found.disk_while_training:
        lines.append(f"Estimated disk while training: {size_text(kept)} of the reference's states at rejected answers.")
    return lines


def _assumed(fleet: Fleet) -> list[str]:
    """How hours come about."""
    device = fleet.hardware
    return [
        f"- GPU hours are of one {device.name} ({device.peak / 1e12:.3g} TFLOP/s), of whose peak training and reading "
        f"sustain {device.share:.0%} ({device.basis}); sampling is bound by launches or bandwidth or, with continuous "
        "batching, by a published rate: rough, and too few for a model below a billion parameters",
        "- wall hours: GPUs share a stage without loss, all are held while some of them work, and each stage opens its "
        "model once",
    ]


def _signs(stages: Iterable[PlannedStage]) -> str:
    """The meaning of the prefixes in use."""
    meanings = {"at most": "≤ is an upper bound, since answers may be dropped; ", "about": "~ may be more or less; "}
    bounds = {stage.bound for stage in stages}
    return "".join(meaning for bound, meaning in meanings.items() if bound in bounds)


def _longest(stages: Sequence[PlannedStage]) -> list[str]:
    """The stages that take most of the hours, those of one name in all iterations together."""
    hours, count = defaultdict[str, float](float), Counter[str]()
    for stage in stages:
        name = stage.name.rpartition("/")[2]
        hours[name] += stage.mean.hours or 0
        count[name] += 1
    total = sum(hours.values())
    if not total:
        return []
    longest = sorted(hours.items(), key=lambda item: -item[1])[:DOMINANT]
    named = [f"{name} {part / total:.0%} ({count[name]} stages)" for name, part in longest]
    return [f"Most of the hours: {', '.join(named)}."]


def _hours(costs: Iterable[Cost]) -> str:
    """The sum of the known hours; `?` if none is known."""
    return _sum_text([cost.hours for cost in costs])


def _sum_text(hours_of: Sequence[float | None]) -> str:
    known = [hours for hours in hours_of if hours is not None]
    if not known:
        return "?"
    hours = sum(known)
    if not hours:
        return ""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 0.05 else "<0.1"


def _short(count: int) -> str:
    """A number of tokens as short text."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}" if count < 1000 * unit else f"{count / unit:,.0f} {name}"
    return str(count)
