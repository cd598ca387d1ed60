"""A recipe's stages with the number of rows for its true counts, exact or bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_type_hints

from selfboost.data.seed_data import SeedData
from selfboost.method import Rehearsable
from selfboost.plan.counts import GRAINS, TRUE_COUNTS, Line, line_through
from selfboost.plan.rehearsal import RehearsalContext, Rehearsed, rehearse
from selfboost.plan.texts import Texts
from selfboost.recipe import ROLES, Recipe
from selfboost.setting_types import is_count

FEWEST_MULTIPLES = 3
FAILING = (2, 16)
"""Of this many answers, all but one fail in a rehearsal: few are lost, or hardly any are left."""
AFFORDABLE = 10_000
"""Largest sum of counts that is rehearsed as is, if no line is straight."""
WORTH_IT = 0.5
"""A smaller rehearsal, to compare failing answers with, has less than this share of the true counts."""
SAMPLES = "samples"
"""The setting that says how many samples a prompt has."""
MANY_SAMPLES = 100
"""More than these are shrunk as well, as long as rows stay linear in them: they multiply counts."""
Bound = Literal["exact", "at most", "about"]
"""Kind of a number of rows. `at most`: the answers can only reduce it; `about`: they can also increase it, or counts
are multiplied in it."""
Played = Mapping[str, Rehearsed]
Play = Callable[..., tuple[Played, set[int]]]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A rehearsed stage and its true number of rows."""

    stage: Rehearsed
    """Its own rows are the rehearsal's."""
    rows: int
    bound: Bound


def stages_of(
    recipe: Recipe,
    data: SeedData,
    prompt: float,
    answer: float,
    sampled: float | None = None,
    *,
    bounded: bool = True,
) -> list[Rows]:
    """All stages of a run of the recipe, in order; `prompt` and `answer` are the seed's mean tokens.

    `sampled`: mean tokens of the initial model's own answers; as the seed's where unknown. Without `bounded` no
    rehearsal with failing answers says which numbers of rows are exact: all are `about`, and found in half of the time.
    """
    sizes = {"train": len(data.train), "validation": len(data.validation), "held_out": len(data.held_out)}
    recipe = _with_drift(recipe, min(recipe.run.drift.prompts, sizes["held_out"]))
    play = partial(_play, recipe, sizes, partial(Texts, prompt, answer, sampled))
    many = {count for part in (recipe.method, recipe.benchmark) for count in _samples(part) if count > MANY_SAMPLES}
    found = _with_few_samples(recipe, sizes, play, many, bounded) if many else None
    return found or _stages(recipe, sizes, play, bounded)


def _with_few_samples(
    recipe: Recipe, sizes: Mapping[str, int], play: Play, many: set[int], bounded: bool
) -> list[Rows] | None:
    """The stages, from rehearsals with fewer samples per prompt; None unless all rows are linear in them."""
    line = line_through(many, (), 1, as_is=False)
    try:
        places = [
            {
                found.stage.name: found
                for found in _stages(recipe, sizes, partial(play, samples=partial(line.few, place=place)), bounded)
            }
            for place in line.places
        ]
    except ValueError:  # a component may refuse so few
        return None
    if len({tuple((name, found.bound) for name, found in place.items()) for place in places}) > 1:
        return None
    rows = {name: [place[name].rows for place in places] for name in places[0]}
    if not all(map(line.is_straight, rows.values())):
        return None
    return [replace(found, rows=line.at_end(rows[name])) for name, found in places[-1].items()]


def _stages(recipe: Recipe, sizes: Mapping[str, int], play: Play, bounded: bool) -> list[Rows]:
    """The stages, from rehearsals with small counts."""
    measured = {sizes["validation"], sizes["held_out"]}
    counts = {sizes["train"]} | _known_counts(_with_drift(recipe, 0))
    if drift := recipe.run.drift.prompts:
        measured |= {drift}
        if counts & {drift, sizes["held_out"]}:
            counts |= {drift, sizes["held_out"]}  # the drift's prompts are the fewer of the two: their order must hold
    multiples = max(FEWEST_MULTIPLES, recipe.run.iterations)
    through = partial(line_through, measured=measured, multiples=multiples)
    line, places = _along_a_line(play, counts, measured, through)
    for grain in GRAINS:
        if not _is_straight(line, places):
            line, places = _along_a_line(play, counts, measured, partial(through, grain=grain))
    if not _is_straight(line, places) and sum(counts | measured) <= AFFORDABLE:
        line, places = _along_a_line(play, counts, measured, lambda _: TRUE_COUNTS)
    if not bounded:
        return [_true(name, line, places, depends=True, growing=True) for name in places[-1]]
    whole, few = _smallest(play, line, places[0], counts | measured, lambda: through(counts, as_is=False))
    failing = [play(few, failing=share)[0] for share in FAILING]
    growing = {_folder(name) for name in whole if any(_rows(name, fails) > _rows(name, whole) for fails in failing)}
    depends = {name for name in places[-1] if any(_rows(name, fails) != _rows(name, whole) for fails in failing)}
    return [_true(name, line, places, name in depends, _folder(name) in growing) for name in places[-1]]


def _with_drift(recipe: Recipe, prompts: int) -> Recipe:
    run = replace(recipe.run, drift=replace(recipe.run.drift, prompts=prompts))
    return replace(recipe, run=run, gate=replace(recipe.gate, largest_divergence=0.0))


def _smallest(
    play: Play, line: Line, first: Played, counts: set[int], smaller: Callable[[], Line]
) -> tuple[Played, Callable[[int], int]]:
    """The smallest rehearsal with the stages of the first, and its counts: what failing answers are compared with."""
    if not line.steps:
        few = partial(smaller().few, place=0)
        if sum(map(few, counts)) < WORTH_IT * sum(counts):
            found, _ = play(few)
            if list(found) == list(first):
                return found, few
    return first, partial(line.few, place=0)


def _along_a_line(
    play: Play, counts: set[int], measured: set[int], through: Callable[[set[int]], Line]
) -> tuple[Line, list[Played]]:
    """A line through all counts, and the stages at its points; counts found on the way are added."""
    known = counts | measured
    while True:
        line = through(counts)
        played = [play(partial(line.few, place=place), known=known) for place in line.places]
        found = set[int]().union(*(asked for _, asked in played))
        if found <= known:
            return line, [stages for stages, _ in played]
        counts |= found - known
        known |= found


def _is_straight(line: Line, places: Sequence[Played]) -> bool:
    """Whether all stages occur at all points, with rows that grow linearly."""
    names = {frozenset(place) for place in places}
    return len(names) == 1 and all(line.is_straight([place[name].rows for place in places]) for name in places[0])


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _rows(name: str, played: Played) -> int:
    return played[name].rows if name in played else 0


def _true(name: str, line: Line, places: Sequence[Played], depends: bool, growing: bool) -> Rows:
    """`depends`: it has other rows where answers fail; `growing`: a stage of its folder then has more to do."""
    rows = [_rows(name, place) for place in places]
    unsure = not line.is_straight(rows) or (depends and growing)
    bound: Bound = "about" if unsure else "at most" if depends else "exact"
    return Rows(stage=places[-1][name], rows=line.at_end(rows), bound=bound)


def _play(
    recipe: Recipe,
    sizes: Mapping[str, int],
    texts: Callable[[], Texts],
    few: Callable[[int], int],
    *,
    failing: int = 0,
    samples: Callable[[int], int] = int,
    known: set[int] | None = None,
) -> tuple[Played, set[int]]:
    """The stages of one rehearsal, and the counts that were shrunk for it; `samples` shrinks samples per prompt.

    No stages if a component has a count that is not among the `known` ones: it would be rehearsed in full.
    """
    with TemporaryDirectory() as folder:
        stage = RehearsalContext(folder=Path(folder), texts=texts(), make_few=few)
        small = {name: stage.few(count) for name, count in sizes.items()}
        small_part = partial(_small, stage=stage, samples=samples)
        parts = {"method": small_part(recipe.method), "benchmark": small_part(recipe.benchmark)}
        parts["run"] = small_part(recipe.run)
        if known is not None and not stage.counts <= known:
            return {}, stage.counts
        return rehearse(replace(recipe, **parts), small, stage, failing=failing), stage.counts


def _small(component: Any, stage: RehearsalContext, samples: Callable[[int], int]) -> Any:
    """The component with small counts, replaced by what its for_rehearsal() returns; its parts first."""
    changes: dict[str, Any] = {}
    for name, hint, value in _settings(component):
        if is_count(hint) and value:
            changes[name] = stage.few(value)
        elif name == SAMPLES and isinstance(value, int):
            changes[name] = samples(value)
        elif ROLES.get(hint) == "scorer":
            changes[name] = _small(value, stage, int)  # its samples are part of its costs
        elif is_dataclass(value):
            changes[name] = _small(value, stage, samples)
    component = replace(component, **changes)
    return component.for_rehearsal(stage) if isinstance(component, Rehearsable) else component


def _known_counts(component: Any) -> set[int]:
    """All counts among the settings of a recipe's method and benchmark."""
    found = set[int]()
    for _, hint, value in _settings(component):
        found |= {value} if is_count(hint) and value else _known_counts(value) if is_dataclass(value) else set()
    return found


def _samples(component: Any) -> set[int]:
    """All numbers of samples per prompt among a component's settings, its scorers' left out."""
    found = set[int]()
    for name, hint, value in _settings(component):
        if name == SAMPLES and isinstance(value, int):
            found |= {value}
        elif is_dataclass(value) and ROLES.get(hint) != "scorer":
            found |= _samples(value)
    return found


def _settings(component: Any) -> list[tuple[str, Any, Any]]:
    hints = get_type_hints(component.__class__, include_extras=True)
    return [(f.name, hints[f.name], getattr(component, f.name)) for f in fields(component)]
