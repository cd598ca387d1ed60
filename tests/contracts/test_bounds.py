"""Every setting of every component and section has bounds: numbers on both sides, texts in length."""

import importlib
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from selfboost import plugins
from selfboost.recipe import ROLES, Recipe
from selfboost.records import LONGEST_STOP, SAMPLING_LIMITS, Sampling
from selfboost.setting_types import Day, ScoreOrNone

STARTERS = Path(plugins.__file__).parent / "starters"
ONE_SIDED = (ScoreOrNone,)
"""Types that take -inf, which means no threshold."""


def classes() -> dict[str, type]:
    """A recipe and all that it may hold: sections, shipped components, starters."""
    found: dict[str, type] = {"recipe": Recipe}
    for role in plugins.FOLDERS:
        found |= {f"{role} {kind}": plugins.load(role, kind) for kind in plugins.kinds(role)}
        found[f"{role} starter"] = importlib.import_module(f"selfboost.starters.{role}").Starter
    return found


def settings_of(cls: type, where: str) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(cls, include_extras=True)
    for f in fields(cls):
        hint = hints[f.name]
        if hint in ROLES or cls is Sampling:  # a noun, which checks its numbers itself
            continue
        if is_dataclass(hint):
            yield from settings_of(hint, f"{where}.{f.name}")
        else:
            yield f"{where}.{f.name}", hint


def bounds(hint: Any) -> dict[str, float]:
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    limits = [limit for mark in marks for limit in getattr(mark, "metadata", ())]
    return {f.name: getattr(limit, f.name) for limit in limits for f in fields(limit)}


def open_ended(hint: Any) -> str:
    """What is not bounded in a type; empty if all is."""
    if hint in (*ONE_SIDED, Day, bool, type(None)) or get_origin(hint) is Literal:
        return ""
    if get_origin(hint) in (Union, UnionType):
        return next((wrong for part in get_args(hint) if (wrong := open_ended(part))), "")
    if get_origin(hint) is tuple:
        return open_ended(get_args(hint)[0])
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if kind is bool or get_origin(kind) in (Union, UnionType, Literal):
        return open_ended(kind)
    limits = bounds(hint)
    if kind in (int, float):
        ends = [limits.get("ge", limits.get("gt", -math.inf)), limits.get("le", limits.get("lt", math.inf))]
        return "" if all(map(math.isfinite, ends)) else f"a number from {ends[0]} to {ends[1]}"
    return "" if kind is str and "max_length" in limits else f"{hint}: not a type with bounds"


@pytest.mark.parametrize("name", classes())
def test_every_setting_is_bounded(name: str) -> None:
    found = dict(settings_of(classes()[name], name))
    wrong = {key: why for key, hint in found.items() if (why := open_ended(hint))}
    assert not wrong


def test_the_settings_of_sampling_are_bounded() -> None:
    numbers = {name for name, hint in get_type_hints(Sampling).items() if hint in (int, float)}
    assert numbers == SAMPLING_LIMITS.keys()
    for name, ends in SAMPLING_LIMITS.items():
        assert all(map(math.isfinite, ends))
        for wrong in (ends[0] - 1, 2 * ends[1] + 1):
            with pytest.raises(ValueError, match=f"{name} = "):
                Sampling(**{name: wrong})
    with pytest.raises(ValueError, match="stop: has a text of 1,001 characters"):
        Sampling(stop=("a" * (LONGEST_STOP + 1),))


def test_the_test_knows_what_is_open() -> None:
    from pydantic import Field

    assert open_ended(int) == "a number from -inf to inf"
    assert open_ended(Annotated[float, Field(ge=0)]) == "a number from 0 to inf"
    assert open_ended(tuple[str, ...]).endswith("not a type with bounds")
    assert open_ended(Annotated[str, Field(min_length=1)] | None)
    assert not open_ended(Annotated[int, Field(gt=0, lt=5)])
    assert len(dict(settings_of(Recipe, "recipe"))) > 40
