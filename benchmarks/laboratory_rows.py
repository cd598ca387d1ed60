"""The laboratory's figures as rows: read from finished runs, kept in docs/laboratory.json, merged cell by cell.

Tables and figures are made of rows alone, so that what another machine or another day ran stays beside what is new.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from benchmarks.laboratory_inside import inside

from selfboost import results, store
from selfboost.disk.json_files import read_json
from selfboost.records import Rated
from selfboost.results import Iteration, Results
from selfboost.statistics import Interval, mean_interval, paired_gain

MEASURES = ("sampled", "greedy", "length")
SHOWN = "sampled"
STEP = f"{SHOWN}, gain in this iteration"
ALL = "all"
Key = tuple[str, int, int | str, str]
"""(cell, iteration, seed, measure)"""


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
    """95 % BCa over held-out prompts; of what happened inside, the lowest and the highest run seed."""
    seeds: Sequence[int] = ()

    @property
    def key(self) -> Key:
        """What tells it from every other."""
        return self.cell, self.iteration, self.seed, self.measure


def over(cell: str) -> str:
    """Name of the measure: gain of the last iteration over that of another cell, on the run seeds of both."""
    return f"{SHOWN}, gain over {cell}"


def finished(root: Path) -> Results | None:
    """What a run came to, or None where it has not come to its end."""
    found = results.read(root) if (root / results.SUMMARY).exists() else None
    return found if found and found.status == "finished" else None


def rows_of(into: Path, cell: str, seeds_of: Mapping[str, Sequence[int]], against: Sequence[str]) -> list[Row]:
    """Every figure of a cell's finished runs, and its last iteration compared with that of the cells `against`."""
    seeds = seeds_of[cell]
    roots = [into / cell / f"seed-{seed}" for seed in seeds]
    found = [*_measured(cell, seeds, roots), *_inside(cell, seeds, roots)]
    for other in against:
        both = [seed for seed in seeds if seed in seeds_of.get(other, ())]
        if both and other != cell:
            new, old = (_last(into / name, both) for name in (cell, other))
            gain = paired_gain([new[prompt] for prompt in old], list(old.values()))
            t = len(_entries(roots[0])) - 1
            found.append(Row(cell=cell, iteration=t, seed=ALL, seeds=both, measure=over(other), **_estimate(gain)))
    return found


def _measured(cell: str, seeds: Sequence[int], roots: Sequence[Path]) -> Iterator[Row]:
    """Measures by iteration, of each seed and of all, and what each iteration gained over the one before it."""
    before: dict[str, float] = {}
    for t, measure in product(range(len(_entries(roots[0]))), MEASURES):
        each = [values(root, t, measure) for root in roots]
        make = partial(Row, cell=cell, iteration=t, measure=measure)
        for seed, found in zip(seeds, each, strict=True):
            yield make(seed=seed, **_estimate(mean_interval(list(found.values()))))
        together = _over_seeds(each)
        yield make(seed=ALL, seeds=tuple(seeds), **_estimate(mean_interval(list(together.values()))))
        if measure == SHOWN:
            if before:
                gain = paired_gain(list(together.values()), [before[prompt] for prompt in together])
                yield Row(cell=cell, iteration=t, seed=ALL, seeds=tuple(seeds), measure=STEP, **_estimate(gain))
            before = together


def _inside(cell: str, seeds: Sequence[int], roots: Sequence[Path]) -> Iterator[Row]:
    """What happened inside each iteration: mean, lowest and highest over the run seeds."""
    for t in range(1, len(_entries(roots[0]))):
        each = [inside(root, _entries(root)[t]) for root in roots]
        for name in dict.fromkeys(name for found in each for name in found):
            known = [found[name] for found in each if name in found]
            spread = {"value": sum(known) / len(known), "low": min(known), "high": max(known)}
            yield Row(cell=cell, iteration=t, seed=ALL, seeds=tuple(seeds), measure=name, **spread)


def values(root: Path, iteration: int, measure: str) -> dict[str, float]:
    """Held-out prompt → mean of a measure over its samples."""
    card = store.read_card(root / store.STAGES / f"iteration-{iteration}" / "measure-held_out")
    assert card is not None, f"{root} is finished"
    found: dict[str, float] = {}
    for rated in store.read_rows(root, card, Rated):
        known = [value for value in rated.values[measure] if value is not None]
        found[rated.prompt] = sum(known) / len(known)
    return found


def _last(cell: Path, seeds: Sequence[int]) -> dict[str, float]:
    roots = [cell / f"seed-{seed}" for seed in seeds]
    return _over_seeds([values(root, len(_entries(root)) - 1, SHOWN) for root in roots])


def _entries(root: Path) -> Sequence[Iteration]:
    found = finished(root)
    assert found is not None, f"{root} is finished"
    return found.iterations


def _over_seeds(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {prompt: sum(found[prompt] for found in each) / len(each) for prompt in each[0]}


def _estimate(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def read(path: Path) -> list[Row]:
    """The rows of a file; none where there is no file."""
    rows = read_json(path) if path.exists() else []
    return [Row(**{**row, "seeds": tuple(row["seeds"])}) for row in rows]


def write(path: Path, rows: Sequence[Row]) -> None:
    """One row a line."""
    lines = [json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in vars(row).items()}) for row in rows]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def merged(old: Sequence[Row], new: Sequence[Row], cells: Sequence[str]) -> list[Row]:
    """New rows in the place of all old ones of their cells, which stay otherwise; in the order of `cells`."""
    fresh = {row.cell for row in new}
    rows = [row for row in old if row.cell not in fresh] + list(new)
    place = {cell: i for i, cell in enumerate(dict.fromkeys([*cells, *(row.cell for row in rows)]))}
    return sorted(rows, key=lambda row: place[row.cell])
