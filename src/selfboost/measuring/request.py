"""What `selfboost measure MODEL` asks for, and the recipe that stands for it: a run's settings without its training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from selfboost import recipe as recipes
from selfboost.benchmark import Benchmark, Opposed
from selfboost.disk.toml_files import read_toml
from selfboost.recipe import Recipe
from selfboost.recipe_text import toml_value
from selfboost.results.models import model_at
from selfboost.seed_models import MAKERS
from selfboost.settings import ModelSource
from selfboost.trust import trusting

UNUSED: Mapping[str, Mapping[str, Any]] = {
    "seed": {"path": "embedded"},
    "scorer": {"kind": "implicit"},
    "engine": {"kind": "local"},
    "trainer": {"kind": "local"},
}
"""Sections that a recipe must have, where no recipe is given."""
TRAINED: Mapping[str, Mapping[str, Any]] = {"method": {"kind": "seed_sft"}, "loss": {"kind": "simpo"}}
"""Sections that only a training would use."""
OPPONENTS = ("initial", "previous", *MAKERS)
"""Models that only a run has, or makes."""


@dataclass(frozen=True, kw_only=True)
class MeasureRequest:
    """A measurement as it is asked for."""

    model: str
    benchmark: str
    """Its kind."""
    recipe: str = ""
    """A recipe whose benchmark, engine and trainer settings are used; empty: their defaults."""
    settings: tuple[str, ...] = ()
    """`section.key=value`, as for a recipe."""
    tasks: tuple[str, ...] = ()
    """For the benchmark's setting `tasks`."""
    seed: str = ""
    """Prompts to measure on, for a benchmark that has none of its own; empty: the recipe's held-out prompts."""
    against: str = ""
    """Another model, measured too, or the benchmark's opponent."""
    trust: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A request as a recipe, with what it leaves open."""

    recipe: Recipe
    """`recipe.model` is measured."""
    name: str
    """The model as the user calls it."""
    seed: str = ""
    """Prompts of the user's; empty: the recipe's held-out prompts, if `from_recipe`."""
    from_recipe: bool
    """Whether the recipe was given, and so has prompts of the user's choice."""
    against: str = ""
    """A model to be measured too, as the user calls it."""

    def second(self) -> Planned:
        """The same measurement of the other model."""
        source = ModelSource(path=_model(self.against))
        return replace(self, recipe=replace(self.recipe, model=source), name=self.against, against="")


def planned(request: MeasureRequest, say: Callable[[str], None]) -> Planned:
    """The recipe of a request.

    Raises:
        ValueError: a recipe or setting is wrong, or the benchmark lacks what was given.
    """
    if not request.model.strip():
        raise ValueError("give a MODEL to measure, a transformers folder or hub name, or --judgments FILE")
    trust = trusting(request.trust)
    path = recipes.find(request.recipe) if request.recipe else None
    table: dict[str, Any] = {**{name: dict(section) for name, section in UNUSED.items()}}
    if path is not None:
        table = {**table, **read_toml(path)}
    named = table.get("benchmark")
    if not isinstance(named, Mapping) or named.get("kind") != request.benchmark:
        table["benchmark"] = {"kind": request.benchmark}
    settings = list(request.settings)
    if request.tasks:
        settings.insert(0, f"benchmark.tasks={toml_value([_here(task) for task in request.tasks])}")
    table = recipes.with_settings(table, settings, say, trust)
    folder = path.resolve().parent if path else Path.cwd()
    benchmark: Benchmark = recipes.read_section("benchmark", table, folder, trust)
    table |= {name: dict(section) for name, section in TRAINED.items()}
    table["model"] = {"path": _model(request.model)}
    # A run's gate is for candidates: here it only has to name a measure that exists.
    table["gate"] = {"measure": next((n for n, m in benchmark.measures.items() if m.sign), "")}
    recipe: Recipe = recipes.build(Recipe, table, folder=folder, trust=trust)
    found = Planned(recipe=recipe, name=request.model, seed=request.seed, from_recipe=path is not None)
    return _opposed(found, request.against)


def _opposed(found: Planned, against: str) -> Planned:
    """With the other model: the opponent of a benchmark that has one, else a model to be measured too."""
    benchmark = found.recipe.benchmark
    if not isinstance(benchmark, Opposed):
        return replace(found, against=against)
    if not against and benchmark.opponent in OPPONENTS:
        kind = type(benchmark).__name__
        raise ValueError(
            f"benchmark.opponent = {benchmark.opponent!r}: {kind} rates a model against another, and outside a run "
            "there is no such model; give --against OTHER"
        )
    if not against:
        return found
    opponent = ModelSource(path=_model(against)).location
    opposed = cast(Benchmark, replace(cast(Any, benchmark), opponent=opponent))
    return replace(found, recipe=replace(found.recipe, benchmark=opposed))


def _model(path: str) -> str:
    """A model's folder or name; of a run's address, the folder of that model.

    Raises:
        ValueError: the run or its iteration does not exist.
    """
    return _here(model_at(path))


def _here(path: str) -> str:
    """An existing file or folder by its absolute path: a recipe would look for it beside itself."""
    try:
        return str(Path(path).absolute()) if Path(path).exists() else path
    except OSError:
        return path
