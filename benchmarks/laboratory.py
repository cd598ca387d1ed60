"""Methods beside each other on the embedded model, SynPO's and self-play's: several run seeds, one table a group.

`python -m benchmarks.laboratory --into DIR [--seeds 0 1 2] [--jobs 2] [--only self-play 'synpo*']` runs what is not
in DIR yet (a run that was killed goes on), prints the tables and renews docs/laboratory.json, the page and its figures;
`--missing` runs only what that file has no rows of, `--show` nothing. Rows of cells that DIR has no finished run of
stay as they are.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from fnmatch import fnmatch
from itertools import product
from pathlib import Path

from benchmarks.laboratory_cells import BASE, Cell
from benchmarks.laboratory_compared import passed_over
from benchmarks.laboratory_golds import seed_file, validation_file
from benchmarks.laboratory_groups import CELLS, GROUPS
from benchmarks.laboratory_page import PAGE, documents, tables
from benchmarks.laboratory_rows import Key, Row, Rows, finished, known, merged, read, rows_of, write
from benchmarks.laboratory_self_play import GOLDS
from benchmarks.pools import pool

from selfboost import boost

ROOT = Path(__file__).parents[1]
Run = tuple[str, int]
"""(cell, run seed)"""


def root_of(into: Path, run: Run) -> Path:
    """A run's folder."""
    cell, seed = run
    return into / cell / f"seed-{seed}"


def settings_of(into: Path, cell: Cell, seed: int) -> list[str]:
    """What a run changes of the demo's recipe; writes the cell's seed, before any run reads it."""
    changes = [*BASE, *cell.common, f"run.seed={seed}", *cell.settings]
    golds = into.resolve() / "golds"
    if cell.sloppy is not None:
        changes.append(f"seed.path={seed_file(golds, GOLDS, cell.sloppy)}")
    if cell.validation:
        changes.append(f"seed.validation={validation_file(golds, cell.validation)}")
    return changes


def run_one(root: Path, settings: Sequence[str]) -> str:
    """Run one; what it left earlier is gone on with. Returns what failed."""
    root.mkdir(parents=True, exist_ok=True)
    start, failed = time.monotonic(), False
    with (root / "output.txt").open("w") as output, redirect_stdout(output), redirect_stderr(output):
        try:
            boost("demo", root, settings=settings, trust="benchmarks")
        except Exception:  # the other runs go on
            traceback.print_exc()
            failed = True
    told = f"failed, see {root / 'output.txt'}" if failed else f"done in {time.monotonic() - start:.0f} s"
    said = f"{root.parent.name}, {root.name}: {told}"
    print(said, flush=True)
    return said if failed else ""


def run_all(into: Path, runs: Sequence[Run], jobs: int) -> list[str]:
    """Run them, so many at a time, in processes that each import PyTorch once; returns what failed."""
    roots = [root_of(into, run) for run in runs]
    settings = [settings_of(into, CELLS[cell], seed) for cell, seed in runs]
    os.environ["OMP_NUM_THREADS"] = "1"
    # The laboratory's own methods and judges are found by their modules' names.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with pool(jobs, "spawn") as processes:
        return [said for said in processes.map(run_one, roots, settings) if said]


def wanted(patterns: Sequence[str]) -> list[Cell]:
    """The cells that a pattern names, by their own name or their group's."""
    names = {
        cell.name
        for group, pattern in product(GROUPS, patterns)
        for cell in group.cells
        if fnmatch(cell.name, pattern) or fnmatch(group.name, pattern)
    }
    return [cell for name, cell in CELLS.items() if name in names]


def collect(into: Path, runs: Iterable[Run], jobs: int, there: Mapping[Key, Row]) -> list[Row]:
    """The rows of finished runs that are not there: reading all of them would take minutes."""
    seeds_of: dict[str, list[int]] = defaultdict(list)
    for cell, seed in runs:
        found = finished(root_of(into, (cell, seed)))
        if found and not known(there, found.iterations, cell, seed):
            seeds_of[cell].append(seed)
    with pool(jobs) as processes:
        asked = [processes.submit(rows_of, into, name, found) for name, found in seeds_of.items()]
        return [row for found in asked for row in found.result()]


def brought_in(file: Path, runs: Iterable[Run], options: argparse.Namespace) -> Rows:
    """The file's rows, after those of finished runs were written into it."""
    old = read(file)
    new = collect(options.into, runs, options.jobs, Rows(old))
    write(file, merged(old, new, list(CELLS)))
    return Rows(read(file))


def unfinished(into: Path, cells: Iterable[Cell], seeds: Sequence[int], rows: Rows, *, missing: bool) -> list[Run]:
    """What is to be run, seed by seed, so that there is a whole table early; `missing`: nothing that has rows."""
    there = {(row.cell, row.seed) for row in rows.values() if missing}
    left_out = passed_over(rows)
    runs = [(cell.name, seed) for seed, cell in product(seeds, cells) if cell.name not in left_out]
    return [run for run in runs if run not in there and not finished(root_of(into, run))]


def main() -> None:
    """Run, collect, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="run seeds")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--only", nargs="+", default=["*"], help="cells or groups whose name matches a pattern")
    parser.add_argument("--missing", action="store_true", help="only runs that docs/laboratory.json has no rows of")
    parser.add_argument("--show", action="store_true", help="run nothing, show what is there")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of laboratory.json and the figures")
    options = parser.parse_args()
    cells = wanted(options.only)
    if not cells:
        allowed = ", ".join([*(group.name for group in GROUPS), *CELLS])
        parser.error(f"--only {' '.join(options.only)}: no such cell or group; allowed: {allowed}")
    seeds: list[int] = options.seeds
    file, failed = options.docs / "laboratory.json", list[str]()
    rows = brought_in(file, product(CELLS, seeds), options)
    for part in () if options.show else (seeds[:1], seeds[1:]):
        runs = unfinished(options.into, cells, part, rows, missing=options.missing)
        failed += run_all(options.into, runs, options.jobs)
        rows = brought_in(file, runs, options)
    made, page = tables(rows), options.docs / PAGE
    print("\n\n".join(f"{name}\n\n{table}" for name, table in made.items()))
    for name, text in documents(rows, made, page.read_text(encoding="utf-8") if page.exists() else "").items():
        if text:
            (options.docs / name).write_text(text, encoding="utf-8")
    if failed:
        sys.exit("; ".join(failed))


if __name__ == "__main__":
    main()
