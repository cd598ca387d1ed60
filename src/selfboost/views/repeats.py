"""One recipe run with several run seeds: its results over seeds, which is what a claim about a method needs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from selfboost import results
from selfboost.measures import Estimated, Measure
from selfboost.results import Results
from selfboost.statistics import Interval
from selfboost.statistics.claims import over_seeds
from selfboost.views.sentences import gain_of, interval, number, title_of
from selfboost.views.streams import console
from selfboost.views.visible import visible

FOLDER = "seed-{}"
"""The run of one seed, inside the folder of all."""


@dataclass(frozen=True, kw_only=True)
class OverSeeds:
    """One measure after one iteration, over the run seeds that finished it."""

    iteration: int
    measure: str
    declared: Measure
    value: Interval
    gain: Interval | None
    """Over the initial model; None for the initial model itself, or where a seed has none."""


def repeats(root: Path) -> dict[int, Path]:
    """Run seed → folder of its run; empty where the folder holds no repeats."""
    found = {int(m[1]): path for path in root.glob(FOLDER.format("*")) if (m := re.fullmatch(r"seed-(\d+)", path.name))}
    runs = {seed: found[seed] for seed in sorted(found) if results.holds_run(found[seed])}
    return {} if results.holds_run(root) else runs


def over_runs(roots: Mapping[int, Path]) -> list[OverSeeds]:
    """Held-out measures by iteration with Student's intervals over the run seeds, of iterations that all have finished.

    Raises:
        ValueError: fewer than two runs have measured anything, or they measured different things.
    """
    runs = [found for root in roots.values() if (found := results.read(root)).iterations]
    if len(runs) < 2:
        raise ValueError("an interval over run seeds needs two runs that have measured a model")
    if any(run.declared != runs[0].declared for run in runs):
        raise ValueError(f"the runs of seeds {', '.join(map(str, roots))} declare different measures")
    rounds = min(len(run.iterations) for run in runs)
    return [found for at in range(rounds) for name in runs[0].declared if (found := _row(runs, at, name)) is not None]


def _row(runs: Sequence[Results], at: int, name: str) -> OverSeeds | None:
    rows = [run.iterations[at].measures.get(name) for run in runs]
    values = [row.value for row in rows if row is not None and row.value is not None]
    gains = [row.gain for row in rows if row is not None and row.gain is not None]
    if len(values) < len(runs):
        return None
    gain = over_seeds(gains) if at and len(gains) == len(runs) else None
    declared = runs[0].declared[name]
    return OverSeeds(iteration=at, measure=name, declared=declared, value=over_seeds(values), gain=gain)


def as_json(roots: Mapping[int, Path]) -> dict[str, Any]:
    """The seeds, and rows of iteration, measure, value and gain with intervals over seeds."""

    def estimate(found: Interval | None) -> dict[str, Any] | None:
        return found and {"value": found.value, "low": found.low, "high": found.high, "n": found.count, "p": found.p}

    rows = [
        {"iteration": row.iteration, "measure": row.measure, "value": estimate(row.value), "gain": estimate(row.gain)}
        for row in over_runs(roots)
    ]
    return {"seeds": list(roots), "rows": rows}


def print_repeats(roots: Mapping[int, Path]) -> None:
    """A table of the gate's measure over seeds, and of what each seed's run shows by itself."""
    out = console()
    found = over_runs(roots)
    gate = results.read(next(iter(roots.values()))).gate_measure
    shown = [row for row in found if row.measure == gate]
    measure = shown[0].declared
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("iteration", f"held-out {title_of(measure)}", "gain on initial"):
        table.add_column(heading, justify="left" if heading == "iteration" else "right", overflow="fold")
    for row in shown:
        value = Estimated.of(row.value)
        text = f"{number(value.value, share=measure.share, unit=False)} {interval(value, share=measure.share)}"
        table.add_row(str(row.iteration), text, gain_of(Estimated.of(row.gain), measure) if row.gain else "")
    out.print(table)
    seeds = ", ".join(map(str, roots))
    out.print(visible(f"Means over the run seeds {seeds}; brackets are Student's 95 % intervals over seeds."))
    out.print("Each seed's own run: " + visible(", ".join(str(root) for root in roots.values())), soft_wrap=True)
