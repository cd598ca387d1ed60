"""Two runs, or two stored measurements, compared item by item on what both rated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rich.table import Table

from selfboost import results, store
from selfboost.disk.json_files import flat
from selfboost.measures import Estimated, Measure
from selfboost.measuring.paired import Compared, adjusted, compare_ratings
from selfboost.measuring.stored import read
from selfboost.records import Rated
from selfboost.results.models import BEST, entry_of, parted
from selfboost.statistics.claims import over_seeds
from selfboost.views.repeats import repeats
from selfboost.views.sentences import gain_of as gain_words
from selfboost.views.sentences import title_of
from selfboost.views.streams import console
from selfboost.views.visible import visible

WIDEST_TITLE = 30
"""Up to this width a measure's title is not broken; the difference beside it is."""


@dataclass(frozen=True, kw_only=True)
class _Rated:
    """A run's policy, or a stored measurement's model, as a benchmark rated it."""

    root: Path
    declared: Mapping[str, Measure]
    benchmark: Any
    ratings: Mapping[str, Rated]


def compare(first: Path, second: Path) -> dict[str, Compared]:
    """Measure → paired difference, second minus first, for every measure that both runs took of their policies.

    Two files are compared as stored measurements.

    Raises:
        ValueError: a folder is no run, a file no measurement, a run has measured nothing yet, or the two rated
            different prompts or with different settings.
    """
    if first.is_file() != second.is_file():
        file, other = (first, second) if first.is_file() else (second, first)
        raise ValueError(f"{file} is a file and {other} is not: compare two runs' folders, or two stored measurements")
    if first.is_file():
        return _paired(_stored(first), _stored(second), "items")
    if (old_runs := repeats(first)) and (new_runs := repeats(second)):
        return _compare_repeats(old_runs, new_runs)
    return _paired(_policy_of(first), _policy_of(second), "prompts")


def _paired(old: _Rated, new: _Rated, over: str) -> dict[str, Compared]:
    _check_comparable(old, new)
    both = [prompt for prompt in old.ratings if prompt in new.ratings]
    one, other = ([rated.ratings[prompt] for prompt in both] for rated in (old, new))
    names = [name for name in old.declared if all(name in rated[0].values for rated in (one, other))]
    return compare_ratings({name: new.declared[name] for name in names}, one, other, over)


def _stored(path: Path) -> _Rated:
    found = read(path)
    return _Rated(
        root=path,
        declared=found.declared,
        benchmark=_by_names(found.benchmark),
        ratings={rated.prompt: rated for rated in found.items},
    )


def _by_names(benchmark: Mapping[str, Any]) -> Mapping[str, Any]:
    """A benchmark's settings with task files by their names alone: what they hold is compared item by item."""
    tasks = cast("Sequence[str]", benchmark.get("tasks", ()))
    return {**benchmark, "tasks": [Path(task).name for task in tasks]} if tasks else benchmark


def _compare_repeats(old: Mapping[int, Path], new: Mapping[int, Path]) -> dict[str, Compared]:
    """The mean over run seeds of each seed's paired difference, with Student's interval over the seeds."""
    both = [seed for seed in old if seed in new]
    if len(both) < 2:
        raise ValueError(f"run seeds in common: {both}; a comparison over seeds needs at least two")
    each = [compare(old[seed], new[seed]) for seed in both]
    names = [name for name in each[0] if all(name in found for found in each)]
    return adjusted(
        {
            name: Compared(
                measure=each[0][name].measure,
                difference=over_seeds([found[name].difference.value for found in each]),
                over="run seeds",
                test="Student's t",
            )
            for name in names
        }
    )


def as_json(found: Mapping[str, Compared]) -> dict[str, Any]:
    """Measure → difference, low, high, n, p and p_holm, in the measure's own unit (shares from 0 to 1)."""
    return {
        name: {
            "difference": each.difference.value,
            "low": each.difference.low,
            "high": each.difference.high,
            "n": each.difference.count,
            "p": each.difference.p,
            "p_holm": each.p_holm,
            "test": each.test,
            "over": each.over,
            "title": each.measure.title,
            "unit": each.measure.unit,
            "better": each.measure.better,
        }
        for name, each in found.items()
    }


def print_comparison(first: Path, second: Path) -> None:
    """The differences as a table."""
    found = compare(first, second)
    over = next(iter(found.values())).over
    out = console()
    out.print(visible(f"{second} minus {first}, 95 % intervals over {over}:"), soft_wrap=True)
    out.print(comparison_table(found))
    for sentence in remarks(found):
        out.print(sentence)


def comparison_table(found: Mapping[str, Compared]) -> Table:
    """A row per measure: the difference, over how many, the test's p, and the adjusted one where several are tested."""
    several = sum(each.p_holm is not None for each in found.values()) > 1
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    over = next(iter(found.values())).over
    longest = max(len(visible(title_of(each.measure))) for each in found.values())
    table.add_column("measure", overflow="fold", min_width=min(longest, WIDEST_TITLE))
    for heading in ("difference", over, "p", *(["p (Holm)"] if several else [])):
        table.add_column(heading, justify="right", overflow="fold")
    for each in found.values():
        gain, last = each.difference, [_p(each.p_holm)] if several else []
        words = gain_words(Estimated.of(gain), each.measure)
        table.add_row(visible(title_of(each.measure)), words, str(gain.count), _p(gain.p), *last)
    return table


def remarks(found: Mapping[str, Compared]) -> list[str]:
    """What a reader of the table must know, in sentences."""
    tests = " or ".join(sorted({each.test for each in found.values()}))
    said = [f"p: {tests}."]
    if sum(each.p_holm is not None for each in found.values()) > 1:
        said.append("p (Holm): adjusted for all measures that are tested here.")
    if next(iter(found.values())).over == "prompts":
        said.append("One run each: the spread over run seeds is not in these intervals.")
    return said


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _policy_of(address: Path) -> _Rated:
    root, which = parted(str(address))
    entry, found = entry_of(root, which or BEST), results.read(root)
    place = f"iteration-{entry.iteration}/measure-held_out"
    card = store.read_card(root / store.STAGES / place)
    if card is None:
        raise ValueError(f"{root}: the stage {place} is missing; run the recipe again to make it")
    ratings = {rated.prompt: rated for rated in store.read_rows(root, card, Rated)}
    return _Rated(root=address, declared=found.declared, benchmark=card.parts.get("benchmark"), ratings=ratings)


def _check_comparable(old: _Rated, new: _Rated) -> None:
    if old.benchmark != new.benchmark:
        one, other = (flat({"benchmark": each.benchmark}) for each in (old, new))
        differing = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
        raise ValueError(
            f"{old.root} and {new.root}: measured differently ({', '.join(differing)}), so their figures cannot be "
            "compared; measure both with the same [benchmark]"
        )
    if not old.ratings.keys() & new.ratings.keys() and old.root.is_file():
        raise ValueError(
            f"{old.root} and {new.root}: have no item in common; measure both on the same tasks or prompts"
        )
    if not old.ratings.keys() & new.ratings.keys():
        raise ValueError(
            f"{old.root} and {new.root}: have no held-out prompt in common; give both the same seed, seed.held_out "
            "and run.seed"
        )
