"""Two runs compared: their policies' ratings, prompt by prompt, on the held-out prompts that both rated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from selfboost import results, store
from selfboost.disk.json_files import flat
from selfboost.measures import Estimated, Measure, gain_of
from selfboost.records import Rated
from selfboost.statistics import Interval
from selfboost.statistics.claims import over_seeds
from selfboost.views.repeats import repeats
from selfboost.views.sentences import gain_of as gain_words
from selfboost.views.sentences import title_of
from selfboost.views.streams import console
from selfboost.views.visible import visible


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One measure of two policies."""

    measure: Measure
    difference: Interval
    """Mean of the second run's value minus the first's."""
    over: str = "prompts"
    """What the interval is over: prompts of one run, or run seeds."""


@dataclass(frozen=True, kw_only=True)
class _Rated:
    """A run's policy as its benchmark rated it."""

    root: Path
    declared: Mapping[str, Measure]
    benchmark: Any
    ratings: Mapping[str, Rated]


def compare(first: Path, second: Path) -> dict[str, Compared]:
    """Measure → paired difference, second minus first, for every measure that both runs took of their policies.

    Raises:
        ValueError: a folder is no run, a run has measured nothing yet, or the two rated different prompts or with
            different settings.
    """
    if (old_runs := repeats(first)) and (new_runs := repeats(second)):
        return _compare_repeats(old_runs, new_runs)
    old, new = _policy_of(first), _policy_of(second)
    _check_comparable(old, new)
    both = [prompt for prompt in old.ratings if prompt in new.ratings]
    one, other = ([rated.ratings[prompt] for prompt in both] for rated in (old, new))
    names = [name for name in old.declared if all(name in rated[0].values for rated in (one, other))]
    return {name: Compared(measure=new.declared[name], difference=gain_of(other, one, name, seed=0)) for name in names}


def _compare_repeats(old: Mapping[int, Path], new: Mapping[int, Path]) -> dict[str, Compared]:
    """The mean over run seeds of each seed's paired difference, with Student's interval over the seeds."""
    both = [seed for seed in old if seed in new]
    if len(both) < 2:
        raise ValueError(f"run seeds in common: {both}; a comparison over seeds needs at least two")
    each = [compare(old[seed], new[seed]) for seed in both]
    names = [name for name in each[0] if all(name in found for found in each)]
    return {
        name: Compared(
            measure=each[0][name].measure,
            difference=over_seeds([found[name].difference.value for found in each]),
            over="run seeds",
        )
        for name in names
    }


def as_json(found: Mapping[str, Compared]) -> dict[str, Any]:
    """Measure → difference, low, high, n and p, in the measure's own unit (shares from 0 to 1)."""
    return {
        name: {
            "difference": each.difference.value,
            "low": each.difference.low,
            "high": each.difference.high,
            "n": each.difference.count,
            "p": each.difference.p,
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
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    over = next(iter(found.values())).over
    for heading in ("measure", "difference", over, "p"):
        table.add_column(heading, justify="left" if heading == "measure" else "right", overflow="fold")
    for each in found.values():
        gain = each.difference
        p = "" if gain.p is None else f"{gain.p:.3f}" if gain.p >= 0.001 else "< 0.001"
        table.add_row(title_of(each.measure), gain_words(Estimated.of(gain), each.measure), str(gain.count), p)
    out = console()
    out.print(visible(f"{second} minus {first}, 95 % intervals over {over}:"), soft_wrap=True)
    out.print(table)
    if over == "prompts":
        out.print("One run each: the spread over run seeds is not in these intervals.")


def _policy_of(root: Path) -> _Rated:
    found = results.read(root)
    promoted = [entry for entry in found.iterations if entry.decision in ("initial", "promoted")]
    if not promoted:
        raise ValueError(f"{root}: has measured no model yet")
    place = f"iteration-{promoted[-1].iteration}/measure-held_out"
    card = store.read_card(root / store.STAGES / place)
    if card is None:
        raise ValueError(f"{root}: the stage {place} is missing; run the recipe again to make it")
    ratings = {rated.prompt: rated for rated in store.read_rows(root, card, Rated)}
    return _Rated(root=root, declared=found.declared, benchmark=card.parts.get("benchmark"), ratings=ratings)


def _check_comparable(old: _Rated, new: _Rated) -> None:
    if old.benchmark != new.benchmark:
        one, other = (flat({"benchmark": each.benchmark}) for each in (old, new))
        differing = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
        raise ValueError(
            f"{old.root} and {new.root}: measured differently ({', '.join(differing)}), so their figures cannot be "
            "compared; run both with the same [benchmark]"
        )
    if not old.ratings.keys() & new.ratings.keys():
        raise ValueError(
            f"{old.root} and {new.root}: have no held-out prompt in common; give both the same seed, seed.held_out "
            "and run.seed"
        )
