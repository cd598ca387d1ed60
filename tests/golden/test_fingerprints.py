"""Fingerprints of stages, against a committed list: moving code must not make a finished run compute anything again.

Every shipped recipe is run on fakes, few prompts of each kind; its own engine, trainer, scorers and losses are known by
the hash that enters the fingerprints of their stages. Every method is run by its golden recipe.
"""

import json
import os
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from fake_recipes import METHODS, write_recipe
from fake_recipes import run as run_recipe
from selfboost import recipe, store
from selfboost.loop import boost
from selfboost.recipe import Recipe
from selfboost.recipe_text import known_by
from selfboost.records import content_hash
from selfboost.stages import Silent

COMMITTED = Path(__file__).parent / "fingerprints.json"
SHIPPED = recipe.shipped()
COMPONENTS = ("loss", "training", "scorer", "benchmark", "engine", "trainer")
SCORER = {"kind": "likelihood", "policy": "initial", "threshold": -1e9}
SMALL: dict[str, dict[str, Any]] = {
    "model": {"path": "fake"},
    "seed": {"path": "embedded", "limit": 24, "validation": 6, "held_out": 6},
    "scorer": SCORER,
    "benchmark": {"kind": "held_out", "samples": 2, "scorer": SCORER},
    "engine": {"kind": "fake"},
    "trainer": {"kind": "fake"},
}
DIGITS = 16


def stages(root: Path) -> dict[str, str]:
    """Stage → beginning of its fingerprint."""
    return {card.name: card.fingerprint[:DIGITS] for card in sorted(store.cards(root), key=lambda card: card.name)}


def small(table: dict[str, Any]) -> dict[str, Any]:
    """A recipe's table with few prompts, on fakes; of the method all stays that a fake understands."""
    method = dict(table["method"])
    method |= {"prompts": 12, "pairs": 6} if "pairs" in method else {"prompts": 8}
    for name, few in (("search", {"pairs": 4}), ("self_instruct", {"prompts": 3}), ("distributions", {"pairs": 4})):
        if name in method:
            method[name] = {**method[name], **few}
    if "generator" in method:
        kept = {name: method["generator"][name] for name in ("training", "sampling") if name in method["generator"]}
        method["generator"] = {**kept, "paragraphs": "embedded", "novelty": {"similarity": 1, "shared_words": 0}}
    if "improver" in method:
        method["improver"] = {**method["improver"], "threshold": -1e9}
    return {**table, **SMALL, "method": method, "run": {"iterations": 2, "beside": ["seed_sft"], "max_cut": 1.0}}


def of_recipe(name: str, root: Path) -> dict[str, str]:
    whole = recipe.read(SHIPPED[name])
    parts = {part: getattr(whole, part) for part in COMPONENTS}
    known = {part: content_hash(known_by(value))[:DIGITS] for part, value in parts.items()}
    boost(recipe.build(Recipe, small(tomllib.loads(SHIPPED[name].read_text()))), root, Silent())
    return known | stages(root)


def of_method(name: str, root: Path) -> dict[str, str]:
    run_recipe(write_recipe(root, name, run={"beside": ["seed_sft"]}), root / "run")
    return stages(root / "run")


def committed() -> dict[str, dict[str, str]]:
    return json.loads(COMMITTED.read_text())


CASES = [*(("recipe", name) for name in SHIPPED), *(("method", name) for name in METHODS)]


def test_every_recipe_and_method_is_listed() -> None:
    assert committed().keys() == {" ".join(case) for case in CASES}


@pytest.mark.parametrize(("what", "name"), CASES)
def test_fingerprints_are_the_committed_ones(what: str, name: str, tmp_path: Path) -> None:
    found = of_recipe(name, tmp_path) if what == "recipe" else of_method(name, tmp_path)
    assert found == committed()[f"{what} {name}"], "finished runs would compute these stages again"


if __name__ == "__main__":  # writes the list anew, for a change of results that is meant
    os.chdir(Path(__file__).parent)
    listed: dict[str, dict[str, str]] = {}
    for what, name in CASES:
        with TemporaryDirectory() as folder:
            listed[f"{what} {name}"] = (of_recipe if what == "recipe" else of_method)(name, Path(folder))
    COMMITTED.write_text(json.dumps(listed, indent=1) + "\n")
