"""Writes a complete, commented recipe for a user's own model and seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from selfboost import plugins
from selfboost.data.hub_data import is_hub_name
from selfboost.demo import EMBEDDED
from selfboost.method import Method
from selfboost.recipe import Recipe, build
from selfboost.recipe_text import recipe_text
from selfboost.trust import trusting

NAME = "recipe.toml"


def write_new_recipe(folder: Path, model: str, seed: str, method: str, trust: str | Sequence[str] = ()) -> Path:
    """Write `folder/recipe.toml`; an existing one is never overwritten. `trust` names modules, as for `recipe.read`.

    Raises:
        ValueError: the method or the seed does not exist, the method is not trusted, or a recipe already exists.
    """
    path = folder / NAME
    if path.exists():
        raise ValueError(f"{path}: already exists; choose another folder or edit it")
    if seed != EMBEDDED and not Path(seed).exists() and not is_hub_name(seed):
        raise ValueError(f"--seed {seed}: no such file or folder, and not the name of a data set")
    trusted = trusting(trust)
    kind = cast("type[Method]", plugins.load("method", method, trust=trusted))
    table: dict[str, dict[str, Any]] = {
        "model": {"path": _absolute(model)},
        "seed": {"path": _absolute(seed)},
        "method": {"kind": method},
        "scorer": {"kind": "implicit"},
        "benchmark": {"kind": "held_out", "scorer": {"kind": "implicit"}},
        "engine": {"kind": "local"},
        "trainer": {"kind": "local"},
        **{section: dict(settings) for section, settings in kind.suggested().items()},
    }
    recipe: Recipe = build(Recipe, table, trust=trusted)
    table["method"] |= recipe.method.fitted(recipe, recipe.seed.path)
    text = recipe_text(build(Recipe, table, trust=trusted), f"{method} on {model}, from the seed {seed}.")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _absolute(path: str) -> str:
    return str(Path(path).resolve()) if path != EMBEDDED and Path(path).exists() else path
