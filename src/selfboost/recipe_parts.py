"""What a recipe is made of: all of its scorers, and where it names the settings of a sampling."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from typing import Any, get_type_hints

from selfboost.recipe import ROLES, Recipe
from selfboost.records import Sampling
from selfboost.scorers import Scorer
from selfboost.setting_types import parts_of


def scorers_of(component: Any) -> list[Scorer]:
    """All scorers of a component and of its parts."""
    found: list[Scorer] = []
    for name, hint in get_type_hints(component.__class__, include_extras=True).items():
        value = getattr(component, name)
        if ROLES.get(hint) == "scorer":
            found.append(value)
        elif is_dataclass(value):
            found += scorers_of(value)
    return found


def setting_of(recipe: Recipe, sampling: Sampling) -> str:
    """Where a recipe says to sample so: the very object, else the shortest name of an equal one but for `samples`.

    Empty if it says so nowhere.
    """
    found = list(parts_of(recipe, Sampling))
    same = [name for name, value in found if value is sampling]
    equal = [name for name, value in found if replace(value, samples=sampling.samples) == sampling]
    return min(same or equal, key=len, default="")
