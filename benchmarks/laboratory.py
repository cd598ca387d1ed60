"""SynPO beside its baselines and its own ablations on the embedded model: several run seeds, one table, one figure.

`python -m benchmarks.laboratory --into DIR [--seeds 0 1 2] [--jobs 2] [--only synpo*]` runs what is not there yet (a
run that was killed goes on), prints the tables and writes docs/laboratory.json and the figures; `--show` runs nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.laboratory_cells import CELLS, COMMON, ITERATIONS, Cell
from benchmarks.laboratory_figures import dots, lines
from benchmarks.laboratory_pairs import over_runs, pair_quality

from selfboost import store
from selfboost.records import Rated
from selfboost.statistics import Interval, mean_interval, paired_gain

DOCS = Path(__file__).parents[1] / "docs"
MEASURES = ("sampled", "greedy", "length")
SHOWN = "sampled"


def run_cell(into: Path, cell: Cell, seed: int) -> str:
    """Run a cell with one seed as a process of its own; what it left earlier is gone on with."""
    root = into / cell.name / f"seed-{seed}"
    root.mkdir(parents=True, exist_ok=True)
    changes = (*COMMON, "run.beside=[]", f"run.seed={seed}", *cell.settings)
    command = [sys.executable, "-m", "selfboost", "run", "demo", "--into", str(root)]
    with (root / "output.txt").open("w") as output:
        done = subprocess.run(
            [*command, *(part for change in changes for part in ("--set", change))],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
        )
    said = f"{cell.name}, seed {seed}: " + ("done" if not done.returncode else f"failed, see {root / 'output.txt'}")
    print(said, flush=True)
    return "" if not done.returncode else said


def finished(root: Path) -> dict[str, Any] | None:
    """A run's summary, or None where it has not come to its end."""
    summary = store.read_json(root / "run.json") if (root / "run.json").exists() else {}
    return summary if summary.get("status") == "finished" else None


def values(root: Path, iteration: int, measure: str) -> dict[str, float]:
    """Held-out prompt → mean of a measure over its samples."""
    card = store.read_card(root / store.STAGES / f"iteration-{iteration}" / "measure-held_out")
    assert card is not None, f"{root} is finished"
    found: dict[str, float] = {}
    for rated in store.read_rows(root, card, Rated):
        known = [value for value in rated.values[measure] if value is not None]
        found[rated.prompt] = sum(known) / len(known)
    return found


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure: a cell's measure after an iteration, of one run seed or of all together."""

    cell: str
    iteration: int
    seed: int | str
    """The run's seed, or `all`: each prompt's mean over the seeds."""
    measure: str
    value: float
    low: float
    high: float
    seeds: Sequence[int] = ()


def rows_of(into: Path, seeds_of: Mapping[str, Sequence[int]]) -> Iterator[Row]:
    """Every figure of the finished runs; intervals are 95 % BCa over held-out prompts."""
    for cell, seeds in seeds_of.items():
        roots = [into / cell / f"seed-{seed}" for seed in seeds]
        for t, measure in product(range(len(_rounds(roots[0]))), MEASURES):
            each = [values(root, t, measure) for root in roots]
            make = partial(Row, cell=cell, iteration=t, measure=measure)
            for seed, found in zip(seeds, each, strict=True):
                yield make(seed=seed, **_estimate(mean_interval(list(found.values()))))
            yield make(seed="all", seeds=tuple(seeds), **_estimate(mean_interval(list(_over_seeds(each).values()))))


def _over_seeds(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {prompt: sum(found[prompt] for found in each) / len(each) for prompt in each[0]}


def _estimate(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def gains(into: Path, seeds_of: Mapping[str, Sequence[int]], against: str) -> dict[str, Interval]:
    """Paired gain of each cell's last iteration over another cell's, each prompt averaged over the seeds both have."""

    def last(name: str, seeds: Sequence[int]) -> dict[str, float]:
        roots = [into / name / f"seed-{seed}" for seed in seeds]
        return _over_seeds([values(root, len(_rounds(root)) - 1, SHOWN) for root in roots])

    found: dict[str, Interval] = {}
    for name, own in seeds_of.items():
        both = [seed for seed in own if seed in seeds_of.get(against, ())]
        if both and name != against:
            new, old = last(name, both), last(against, both)
            found[name] = paired_gain([new[prompt] for prompt in old], list(old.values()))
    return found


def _rounds(root: Path) -> list[Any]:
    summary = finished(root)
    assert summary is not None, f"{root} is finished"
    return list(summary["iterations"])


def table(rows: Sequence[Row], over: Mapping[str, Interval], cells: Sequence[Cell]) -> str:
    """A Markdown table: pass rate by iteration, all seeds together; the last one's spread and its gain over SynPO."""
    lines_: list[str] = [
        "| | " + " | ".join(f"it. {t}" for t in range(1, ITERATIONS + 1)) + " | last, by run seed | last over SynPO |",
        "|---|" + "---|" * (ITERATIONS + 2),
    ]
    shown = {(r.cell, r.iteration, r.seed): r for r in rows if r.measure == SHOWN}
    for cell in cells:
        mine = [shown[cell.name, t, "all"] for t in range(1, ITERATIONS + 1) if (cell.name, t, "all") in shown]
        if not mine:
            continue
        by_seed = " ".join(f"{100 * shown[cell.name, mine[-1].iteration, s].value:.1f}" for s in mine[-1].seeds)
        numbers = [f"{100 * r.value:.1f}" for r in mine]
        numbers[-1] += f" [{100 * mine[-1].low:.1f}, {100 * mine[-1].high:.1f}]"
        numbers += [""] * (ITERATIONS - len(mine))
        gain = over.get(cell.name)
        told = f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]" if gain else ""
        lines_.append(f"| {cell.title} | " + " | ".join([*numbers, by_seed, told]) + " |")
    return "\n".join(lines_)


def pairs_table(into: Path, cells: Sequence[Cell], seeds_of: Mapping[str, Sequence[int]]) -> str:
    """A Markdown table of what the new pairs are made of, means over the seeds, iterations side by side."""
    told = [
        "| | own answers pass | chosen candidates pass | pairs right | pairs wrong | prompts valid |",
        "|---|" + "---|" * 5,
    ]
    for cell in cells:
        roots = [into / cell.name / f"seed-{seed}" for seed in seeds_of[cell.name]]
        rounds = range(1, len(_rounds(roots[0])))
        found = [over_runs([pair_quality(root, t) for root in roots]) for t in rounds]
        columns = ("drafts", "improved", "right", "wrong", "valid")
        shown = [" ".join(_percent(getattr(quality, column)) for quality in found) for column in columns]
        told.append(f"| {cell.title} | " + " | ".join(shown) + " |")
    return "\n".join(told)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f}"


def main() -> None:
    """Run, collect, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="run seeds")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--only", default="*", help="cells whose name matches")
    parser.add_argument("--show", action="store_true", help="run nothing, show what is there")
    options = parser.parse_args()
    cells = [cell for cell in CELLS if fnmatch(cell.name, options.only)]
    if not cells:
        parser.error(f"--only {options.only}: no such cell; allowed: {', '.join(cell.name for cell in CELLS)}")
    if not options.show:
        todo = sorted(product(cells, options.seeds), key=lambda job: (job[0].group != "methods", job[1]))
        with ThreadPoolExecutor(options.jobs) as pool:
            failed = [said for said in pool.map(lambda job: run_cell(options.into, *job), todo) if said]
        if failed:
            sys.exit("; ".join(failed))
    runs = {c.name: [s for s in options.seeds if finished(options.into / c.name / f"seed-{s}")] for c in CELLS}
    seeds_of = {name: seeds for name, seeds in runs.items() if seeds}
    there = [cell for cell in CELLS if cell.name in seeds_of]
    rows = list(rows_of(options.into, seeds_of))
    over = gains(options.into, seeds_of, "synpo")
    for group in dict.fromkeys(cell.group for cell in there):
        print(f"\n{group}\n\n" + table(rows, over, [cell for cell in there if cell.group == group]))
    with_pairs = [cell for cell in there if not cell.name.startswith("seed-sft")]
    print("\nthe new pairs, %, iterations side by side\n\n" + pairs_table(options.into, with_pairs, seeds_of))
    write(rows, there)


def write(rows: Sequence[Row], cells: Sequence[Cell]) -> None:
    """docs/laboratory.json and the figures."""
    lines_ = [json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in vars(row).items()}) for row in rows]
    (DOCS / "laboratory.json").write_text("[\n" + ",\n".join(lines_) + "\n]\n")
    shown = [row for row in rows if row.measure == SHOWN and row.seed == "all"]
    titles = {cell.name: cell.title for cell in cells}
    of = {name: [row for row in shown if row.cell == name] for name in titles}
    methods = {titles[c.name]: of[c.name] for c in cells if c.group == "methods"}
    last = {titles[c.name]: of[c.name][-1] for c in cells if c.group == "ablations" or c.name == "synpo"}
    as_points = {title: [(r.iteration, r.value, r.low, r.high) for r in own] for title, own in methods.items()}
    (DOCS / "laboratory-methods.svg").write_text(lines(as_points))
    (DOCS / "laboratory-ablations.svg").write_text(dots({t: (r.value, r.low, r.high) for t, r in last.items()}))


if __name__ == "__main__":
    main()
