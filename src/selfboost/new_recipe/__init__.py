"""Writes a recipe for a user's own model and seed that fits both, and this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from selfboost import plugins
from selfboost.data.hub_data import is_hub_name
from selfboost.demo import EMBEDDED
from selfboost.method import Method
from selfboost.new_recipe.fit import Fitted, Machine, fit
from selfboost.new_recipe.short import short_text
from selfboost.recipe import Recipe, build
from selfboost.recipe_text import recipe_text
from selfboost.trust import trusting

NAME = "recipe.toml"
SELF_JUDGED = (
    "the results are self-judged: what filters the training pairs also rates the outcome, and both are made from your "
    "model and seed. For results to rely on, set benchmark.scorer to another judge, such as a reward model"
)
MEASURED_BY = "self-judged; set another judge here, such as {kind = 'reward_model', path = …}"
Table = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class NewRecipe:
    """A recipe that was written."""

    path: Path
    warnings: Sequence[str]
    """What the user must know, in sentences."""


def write_new_recipe(
    folder: Path,
    model: str,
    seed: str,
    method: str,
    trust: str | Sequence[str] = (),
    *,
    full: bool = False,
    machine: Machine | None = None,
) -> NewRecipe:
    """Write `folder/recipe.toml`; an existing one is never overwritten. `trust` names modules, as for `recipe.read`.

    The recipe fits the model, the seed and the machine (this one by default) as far as they can be opened here. `full`
    writes every setting, else those that matter first and those that differ from their defaults.

    Raises:
        ValueError: the model, the method or the seed cannot be used, the method is not trusted, or a recipe exists.
    """
    path = folder / NAME
    if path.exists():
        raise ValueError(f"{path}: already exists; choose another folder or edit it")
    if seed != EMBEDDED and not Path(seed).exists() and not is_hub_name(seed):
        raise ValueError(f"--seed {seed}: no such file or folder, and not the name of a data set")
    trusted = trusting(trust)
    kind = cast("type[Method]", plugins.load("method", method, trust=trusted))
    machine = machine or Machine.here()
    table = _table(model, seed, method, machine) | {name: dict(found) for name, found in kind.suggested().items()}
    recipe: Recipe = build(Recipe, table, trust=trusted)
    table["method"] |= recipe.method.fitted(recipe, recipe.seed.path)
    fitted = fit(build(Recipe, table, trust=trusted), machine)
    for where, value in fitted.settings.items():
        _put(table, where.split("."), value)
    recipe = build(Recipe, table, trust=trusted)
    title = f"{method} on {model}, from the seed {seed}."
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(
        recipe_text(recipe, title) if full else short_text(table, _reasons(fitted), title), encoding="utf-8"
    )
    return NewRecipe(path=path, warnings=[*fitted.warnings, SELF_JUDGED])


def _table(model: str, seed: str, method: str, machine: Machine) -> Table:
    return {
        "run": {"iterations": machine.iterations},
        "model": {"path": _absolute(model)},
        "seed": {"path": _absolute(seed)},
        "method": {"kind": method},
        "scorer": {"kind": "implicit"},
        "benchmark": {"kind": "held_out", "scorer": {"kind": "implicit"}},
        "engine": {"kind": "local"},
        "trainer": {"kind": "local"},
    }


def _reasons(fitted: Fitted) -> dict[str, str]:
    return {**fitted.reasons, "benchmark.scorer": MEASURED_BY}


def _put(table: Table, names: Sequence[str], value: Any) -> None:
    *sections, last = names
    for name in sections:
        table = table.setdefault(name, {})
    table[last] = value


def _absolute(path: str) -> str:
    return str(Path(path).resolve()) if path != EMBEDDED and Path(path).exists() else path
