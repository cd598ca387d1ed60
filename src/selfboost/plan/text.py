"""Prints a plan for 80 columns: stages by kind, their times, memory, what is assumed, warnings."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill

from rich.table import Table
from rich.text import Text

from selfboost.pace import Rate
from selfboost.plan import Plan, PlannedStage
from selfboost.plan.cost import WORK
from selfboost.plan.memory import size_text
from selfboost.plan.rows import Bound
from selfboost.views.sentences import duration
from selfboost.views.streams import console
from selfboost.views.visible import visible

SIGNS: Mapping[Bound, str] = {"exact": "", "at most": "≤", "about": "~"}
"""Prefix of a number of rows."""
KINDS_OF_WORK = ("sampling", "training", "scoring")
"""In the order of the tables."""
MOST_KINDS = 20
"""Lines of the table by kind of stage, at most."""
DOMINANT = 3
"""How many kinds of stages are named as the longest."""


def show_plan(found: Plan, *, every_stage: bool = False) -> None:
    """Print a plan; with `every_stage`, each stage has a line of its own."""
    out = console()
    out.print(_stages(found) if every_stage else _kinds(found))
    if found.fleet.gpus > 1:
        out.print()
        out.print(_held(found))
    out.print()
    for line in _explained(found):
        out.print(fill(visible(line), out.width - 1, subsequent_indent="  ", break_on_hyphens=False))
    for warning in found.warnings:
        out.print(fill(visible(f"warning: {warning}"), out.width - 1, break_on_hyphens=False), style="yellow")
    least = f", with {len(found.warnings)} warning{'s' * (len(found.warnings) > 1)}" if found.warnings else ""
    out.print(f"The recipe is valid{least}.")


def _kinds(found: Plan) -> Table:
    """A line for each kind of stage, all iterations together; the least of very many kinds share one."""
    by_kind = defaultdict[str, list[PlannedStage]](list)
    for stage in found.stages:
        by_kind[stage.kind].append(stage)
    longest = sorted(by_kind, key=lambda kind: -sum(stage.mean.hours or 0.0 for stage in by_kind[kind]))
    table = _table("stage", "times", "rows", "tokens", *_time_columns(found))
    for kind, some in by_kind.items():
        if kind in longest[:MOST_KINDS]:
            table.add_row(Text(visible(kind)), str(len(some)), *_amounts(some))
    if rest := [stage for kind in longest[MOST_KINDS:] for stage in by_kind[kind]]:
        table.add_row(f"{len(longest) - MOST_KINDS} other kinds", str(len(rest)), *_amounts(rest))
    table.add_row("all", str(len(found.stages)), "", "", *_times(found.stages))
    return table


def _stages(found: Plan) -> Table:
    """A line for each stage; those of a beta search share one."""
    table = _table("stage", "rows", "tokens", *_time_columns(found))
    for name, some in _folded(found.stages).items():
        table.add_row(Text(visible(name)), *_amounts(some))
    table.add_row("all", "", "", *_times(found.stages))
    return table


def _amounts(some: Sequence[PlannedStage]) -> tuple[str, ...]:
    """Rows, tokens and times of some stages together."""
    bound: Bound = max((stage.bound for stage in some), key=list(SIGNS).index)
    tokens = sum(stage.mean.tokens for stage in some)
    rows = f"{SIGNS[bound]}{sum(stage.rows for stage in some):,}"
    times = _times(some) if any(stage.verb in WORK for stage in some) else ("", "")
    return rows, _short(tokens) if tokens else "", *times


def _time_columns(found: Plan) -> tuple[str, str]:
    return ("time", "at most") if found.pace else ("GPU time", "at most")


def _times(some: Iterable[PlannedStage]) -> tuple[str, str]:
    """Mean time and its upper bound."""
    stages = list(some)
    return _time(stage.mean.hours for stage in stages), _time(stage.most.hours for stage in stages)


def _time(hours: Iterable[float | None]) -> str:
    """The sum of the known hours; `?` if none is known."""
    known = [each for each in hours if each is not None]
    if not known:
        return "?"
    seconds = 3600 * sum(known)
    return duration(seconds) if seconds >= 1 else "<1 s" if seconds else ""


def _folded(stages: Iterable[PlannedStage]) -> dict[str, list[PlannedStage]]:
    """Stages by name, with those of a beta search folded together."""
    found: dict[str, list[PlannedStage]] = {}
    for stage in stages:
        found.setdefault(re.sub(r"/beta-[^/]+/", "/beta-*/", stage.name), []).append(stage)
    return found


def _held(found: Plan) -> Table:
    """Wall time by kind of work, the GPUs at work in it, and the hours of those that are idle meanwhile."""
    reserved = found.fleet.gpus
    table = _table("work", "GPUs at work", "wall time", "GPU time held", "idle")
    parts = [[s for s in found.stages if WORK.get(s.verb) == work] for work in KINDS_OF_WORK]
    for work, some in zip((*KINDS_OF_WORK, "all"), (*parts, [s for part in parts for s in part]), strict=True):
        used = sorted({stage.gpus for stage in some})
        at_work = f"{used[-1]} of {reserved}" if used and work != "all" else ""
        wall = [stage.wall(stage.mean) for stage in some]
        worked = [cost.hours if stage.gpus else 0.0 for stage in some for cost in (stage.mean,)]
        held = [None if hours is None else hours * reserved for hours in wall]
        idle = [None if h is None or w is None else h - w for h, w in zip(held, worked, strict=True)]
        table.add_row(work, at_work, *map(_time, (wall, held, idle)))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if column in ("stage", "work") else "right", no_wrap=i > 0)
    table.columns[0].overflow = "fold"
    return table


def _explained(found: Plan) -> list[str]:
    return [
        *_longest(found.stages),
        *_needs(found),
        "",
        *(f"- {note}" for note in found.notes),
        f"- rows are exact; {_signs(found.stages)}tokens and times are for sampled answers {_as_long_as(found)}, "
        '"at most" for answers as long as they may be',
        *_assumed(found),
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
    if found.pace and not found.pace.gpu:
        room = "more than it has: the run may be killed" if _too_much(found) else f"of {size_text(found.pace.memory)}"
        lines[0] = f"Estimated memory: {size_text(found.host_memory)} {room} ({held} beside the process itself)."
    if kept := found.disk_while_training:
        lines.append(f"Estimated disk while training: {size_text(kept)} of the reference's states at rejected answers.")
    return lines


def _too_much(found: Plan) -> bool:
    return found.pace is not None and (found.host_memory or 0) > found.pace.memory


def _assumed(found: Plan) -> list[str]:
    """How times come about."""
    if found.pace:
        return [
            f"- times are for {found.pace.machine} here, from a measurement of {duration(found.pace.seconds)} with the "
            f"recipe's own model, whose answers had {found.pace.answer:.0f} tokens: sampling "
            f"{_rate(found.pace.sampling)}, training {_rate(found.pace.training)}, reading {_rate(found.pace.reading)} "
            "tokens a second; expect them within a factor of two while answers keep that length"
        ]
    device = found.fleet.hardware
    return [
        f"- GPU time is of one {device.name} ({device.peak / 1e12:.3g} TFLOP/s), of whose peak training and reading "
        f"sustain {device.share:.0%} ({device.basis}); sampling is bound by launches or bandwidth or, with continuous "
        "batching, by a published rate: rough, and too little for a model below a billion parameters",
        "- wall time: GPUs share a stage without loss, all are held while some of them work, and each stage opens its "
        "model once",
    ]


def _rate(rate: Rate) -> str:
    return f"{1 / rate.each:,.0f}" if rate.each else "very many"


def _as_long_as(found: Plan) -> str:
    return "as long as the model's own are now" if found.pace else "as long as the seed's"


def _signs(stages: Iterable[PlannedStage]) -> str:
    """The meaning of the prefixes in use."""
    meanings = {"at most": "≤ is an upper bound, since answers may be dropped; ", "about": "~ may be more or less; "}
    bounds = {stage.bound for stage in stages}
    return "".join(meaning for bound, meaning in meanings.items() if bound in bounds)


def _longest(stages: Sequence[PlannedStage]) -> list[str]:
    """The stages that take most of the time, those of one name in all iterations together."""
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
    return [f"Most of the time: {', '.join(named)}."]


def _short(count: int) -> str:
    """A number of tokens as short text."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}" if count < 1000 * unit else f"{count / unit:,.0f} {name}"
    return str(count)
