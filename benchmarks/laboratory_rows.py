"""The laboratory's figures as rows: read from finished runs, kept in docs/laboratory.json, merged cell by cell.

Tables and figures are made of rows alone, so that what another machine or another day ran stays beside what is new.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from benchmarks.laboratory_inside import inside

from selfboost import results, store
from selfboost.disk.json_files import read_json
from selfboost.records import Rated
from selfboost.results import Iteration, Results
from selfboost.statistics import Interval, mean_interval
from selfboost.statistics.claims import over_seeds

MEASURES = ("sampled", "greedy", "length")
SHOWN = "sampled"
VALIDATION = "validation"
"""The measure `sampled` on the validation prompts, by which the comparison's rates are chosen."""
ALL = "all"
FEWEST = 3
"""Run seeds of an interval that a figure draws: one over two is mostly chance."""
PLACES = 5
"""Decimal places of a row's figures."""
Key = tuple[str, int, int | str, str]
"""(cell, iteration, seed, measure)"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure: a cell's measure after an iteration, of one run seed or of all together."""

    cell: str
    iteration: int
    seed: int | str
    """The run's seed, or `all`: the mean over the seeds."""
    measure: str
    value: float
    low: float
    high: float
    """Of one seed 95 % BCa over held-out prompts; of what happened inside, the lowest and the highest run seed."""
    seeds: Sequence[int] = ()

    @property
    def key(self) -> Key:
        """What tells it from every other."""
        return self.cell, self.iteration, self.seed, self.measure


class Rows(Mapping[Key, Row]):
    """Rows by their key; of two with one key the later."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows = {row.key: row for row in rows}
        self._values: dict[tuple[str, int, str], dict[int, float]] = {}
        self._ends: dict[str, int] = {}
        for (cell, t, seed, measure), row in self._rows.items():
            if not isinstance(seed, int):
                continue
            self._values.setdefault((cell, t, measure), {})[seed] = row.value
            if measure == SHOWN:
                self._ends[cell] = max(t, self._ends.get(cell, 0))

    def __getitem__(self, key: Key) -> Row:
        return self._rows[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def by_seed(self, cell: str, iteration: int, measure: str = SHOWN) -> dict[int, float]:
        """Run seed → the measure after an iteration, seeds in order; nothing where there is no row."""
        return dict(sorted(self._values.get((cell, iteration, measure), {}).items()))

    def last(self, cell: str) -> int:
        """The last iteration that a cell has pass rates of; `KeyError` without any."""
        return self._ends[cell]


def finished(root: Path) -> Results | None:
    """What a run came to, or None where it has not come to its end."""
    found = results.read(root) if (root / results.SUMMARY).exists() else None
    return found if found and found.status == "finished" else None


def known(rows: Mapping[Key, Row], entries: Sequence[Iteration], cell: str, seed: int) -> bool:
    """Whether the rows of a finished run's iterations are there: it ended with the share that the last of them has."""
    end = len(entries) - 1
    row = rows.get((cell, end, seed, SHOWN))
    return row is not None and row.value == round(entries[standing(entries, end)].measures[SHOWN].value, PLACES)


def rows_of(into: Path, cell: str, seeds: Sequence[int]) -> list[Row]:
    """Every figure of a cell's finished runs."""
    roots = [into / cell / f"seed-{seed}" for seed in seeds]
    return [*_measured(cell, seeds, roots), *_inside(cell, seeds, roots)]


def _measured(cell: str, seeds: Sequence[int], roots: Sequence[Path]) -> Iterator[Row]:
    """Measures by iteration and run seed, of the policy that stands after it."""
    measures = [*((measure, "held_out", measure) for measure in MEASURES), (VALIDATION, "validation", SHOWN)]
    runs = [(seed, root, _entries(root)) for seed, root in zip(seeds, roots, strict=True)]
    for t, (measure, split, read), (seed, root, entries) in product(range(len(runs[0][2])), measures, runs):
        known = values(root, standing(entries, t), read, split)
        if not known:
            continue
        found = mean_interval(list(known.values()))
        spread = {"value": found.value, "low": found.low, "high": found.high}
        yield Row(cell=cell, iteration=t, seed=seed, measure=measure, **spread)


def standing(entries: Sequence[Iteration], t: int) -> int:
    """The iteration that trained the policy which stands after iteration `t`; 0: the initial model."""
    return max(entry.iteration for entry in entries[: t + 1] if entry.decision in ("initial", "promoted"))


def _inside(cell: str, seeds: Sequence[int], roots: Sequence[Path]) -> Iterator[Row]:
    """What happened inside each iteration: mean, lowest and highest over the run seeds."""
    for t in range(1, len(_entries(roots[0]))):
        each = [inside(root, _entries(root)[t]) for root in roots]
        for name in dict.fromkeys(name for found in each for name in found):
            known = [found[name] for found in each if name in found]
            spread = {"value": sum(known) / len(known), "low": min(known), "high": max(known)}
            yield Row(cell=cell, iteration=t, seed=ALL, seeds=tuple(seeds), measure=name, **spread)


def values(root: Path, iteration: int, measure: str, split: str = "held_out") -> dict[str, float]:
    """Prompt → mean of a measure over its samples; nothing where it was not measured."""
    card = store.read_card(root / store.STAGES / f"iteration-{iteration}" / f"measure-{split}")
    assert card is not None, f"{root} is finished"
    found: dict[str, float] = {}
    for rated in store.read_rows(root, card, Rated):
        if measure not in rated.values:
            return {}
        known = [value for value in rated.values[measure] if value is not None]
        found[rated.prompt] = sum(known) / len(known)
    return found


def _entries(root: Path) -> Sequence[Iteration]:
    found = finished(root)
    assert found is not None, f"{root} is finished"
    return found.iterations


def gains(new: Mapping[int, float], old: Mapping[int, float]) -> list[float]:
    """Difference for each run seed that both have."""
    return [new[seed] - old[seed] for seed in new if seed in old]


def last_gains(rows: Rows, cell: str, other: str) -> list[float]:
    """The last iteration's gain over another cell's last, by common run seed; none over itself or without its rows."""
    if cell == other or not rows.by_seed(other, 1):
        return []
    return gains(*(rows.by_seed(name, rows.last(name)) for name in (cell, other)))


def estimate(each: Sequence[float]) -> Interval:
    """Mean over run seeds with Student's 95 % interval; of one seed the value alone, p = 1."""
    if len(each) == 1:
        return Interval(value=each[0], low=each[0], high=each[0], count=1, p=1.0)
    return over_seeds(each)


def drawn(each: Sequence[float]) -> tuple[float, float, float]:
    """Mean, low and high over run seeds for a figure; of too few seeds the mean alone."""
    found = estimate(each)
    return (found.value, found.low, found.high) if len(each) >= FEWEST else (found.value,) * 3


def read(path: Path) -> list[Row]:
    """The rows of a file; none where there is no file."""
    rows = read_json(path) if path.exists() else []
    return [Row(**{**row, "seeds": tuple(row["seeds"])}) for row in rows]


def write(path: Path, rows: Sequence[Row]) -> None:
    """One row a line."""
    lines = [
        json.dumps({k: round(v, PLACES) if isinstance(v, float) else v for k, v in vars(row).items()}) for row in rows
    ]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def merged(old: Sequence[Row], new: Sequence[Row], cells: Sequence[str]) -> list[Row]:
    """New rows in the place of old ones of their cell and run seed, which stay otherwise; in the order of `cells`.

    What holds for all seeds together is put together: its mean, lowest and highest. Whoever changes what a cell runs
    deletes its rows.
    """
    fresh = {row.key: row for row in new}
    rows = [_together(row, fresh.pop(row.key)) if row.key in fresh else row for row in old] + list(fresh.values())
    place = {cell: i for i, cell in enumerate(dict.fromkeys([*cells, *(row.cell for row in rows)]))}
    return sorted(rows, key=lambda row: (place[row.cell], row.iteration))


def _together(old: Row, new: Row) -> Row:
    """Of one seed the new row; of all, both, unless they share a seed."""
    if new.seed != ALL or set(old.seeds) & set(new.seeds):
        return new
    one, other = len(old.seeds), len(new.seeds)
    return replace(
        new,
        seeds=tuple(sorted([*old.seeds, *new.seeds])),
        value=(one * old.value + other * new.value) / (one + other),
        low=min(old.low, new.low),
        high=max(old.high, new.high),
    )
