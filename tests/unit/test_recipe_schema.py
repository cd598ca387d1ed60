"""The schema of recipes takes what selfboost takes, and refuses what it refuses by name, type or bound."""

import json
import tomllib
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from selfboost import recipe
from selfboost.views.recipe_schema import recipe_schema


@cache
def validator() -> Draft7Validator:
    schema = json.loads(json.dumps(recipe_schema(), allow_nan=False))
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def table(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", recipe.shipped())
def test_every_shipped_recipe_is_valid(name: str) -> None:
    assert [error.message for error in validator().iter_errors(table(recipe.shipped()[name]))] == []


@pytest.mark.parametrize(
    ("section", "setting", "value"),
    [
        ("run", "iteratons", 3),
        ("run", "iterations", 0),
        ("run", "iterations", "three"),
        ("training", "learning_rate", -1.0),
        ("method", "kind", "synpoo"),
        ("method", "pairs", True),
        ("loss", "kind", None),
        ("model", "path", None),
        ("trainer", "trackers", ["none"]),
    ],
)
def test_what_selfboost_refuses_is_refused(section: str, setting: str, value: object) -> None:
    changed = deepcopy(table(recipe.shipped()["demo"]))
    validator().validate(changed)
    changed.setdefault(section, {})[setting] = value
    if value is None:
        del changed[section][setting]
    assert not validator().is_valid(changed)
    with pytest.raises(ValueError, match=section):
        recipe.build(recipe.Recipe, changed)


def test_a_missing_section_is_refused_and_a_component_of_ones_own_taken() -> None:
    changed = table(recipe.shipped()["demo"])
    assert validator().is_valid(changed | {"method": {"kind": "mine:Mine", "anything": 1}})
    del changed["seed"]
    assert not validator().is_valid(changed)


def test_settings_are_described_with_their_defaults() -> None:
    seeds = recipe_schema()["definitions"]["SeedSource"]["properties"]
    assert seeds["limit"]["default"] == 0
    assert seeds["limit"]["minimum"] == 0
    assert "maximum" in seeds["limit"]
    assert len(seeds["limit"]["description"]) > 10
