"""Writes a complete, commented recipe for a user's own model and seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfboost import plugins
from selfboost.data.hub_data import is_hub_name
from selfboost.data.seeds import question_texts, read_seeds
from selfboost.demo import EMBEDDED
from selfboost.methods.dnpo import DNPO
from selfboost.methods.parts.self_play import SelfPlay
from selfboost.methods.parts.synthetic_preferences import SyntheticPreferences
from selfboost.prompts.keywords import keyword_pool
from selfboost.recipe import Recipe, build
from selfboost.recipe_text import recipe_text

NAME = "recipe.toml"
SELF_PLAY_TRAINING = {
    "optimizer": "rmsprop",
    "learning_rate": 5e-7,
    "batch_size": 32,
    "epochs": 3,
    "schedule": "linear",
}
"""SPIN's and DNPO's, but for the batch, which is larger or smaller in their papers."""


def write_new_recipe(folder: Path, model: str, seed: str, method: str) -> Path:
    """Write `folder/recipe.toml`; an existing one is never overwritten.

    Raises:
        ValueError: the method or the seed does not exist, or there is a recipe already.
    """
    path = folder / NAME
    if path.exists():
        raise ValueError(f"{path}: exists already; choose another folder or edit it")
    if seed != EMBEDDED and not Path(seed).exists() and not is_hub_name(seed):
        raise ValueError(f"--seed {seed}: no such file or folder, and no data set's name")
    kind = plugins.load("method", method)
    table: dict[str, dict[str, Any]] = {
        "model": {"path": _absolute(model)},
        "seed": {"path": _absolute(seed)},
        "method": {"kind": method},
        "loss": _loss(kind),
        "scorer": {"kind": "implicit"},
        "benchmark": {"kind": "held_out", "scorer": {"kind": "implicit"}},
        "engine": {"kind": "local"},
        "trainer": {"kind": "local"},
    }
    if issubclass(kind, SelfPlay):
        table["training"] = SELF_PLAY_TRAINING
    recipe: Recipe = build(Recipe, table)
    if isinstance(recipe.method, SyntheticPreferences) and not recipe.method.once:
        table["method"] |= _words_for_prompts(recipe, recipe.method)
    text = recipe_text(build(Recipe, table), f"{method} on {model}, from the seed {seed}.")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _loss(method: type) -> dict[str, Any]:
    """The loss of a method's paper; of noise not the published strength, which suits no other model."""
    if issubclass(method, DNPO):
        return {"kind": "noise_preference", "noise": {"scale": "auto"}}
    return {"kind": "simpo" if issubclass(method, SyntheticPreferences) else "dpo"}


def _words_for_prompts(recipe: Recipe, method: SyntheticPreferences) -> dict[str, Any]:
    """Settings with which there are enough keyword lists: the embedded paragraphs, or counts that fit the seed."""
    if is_hub_name(recipe.seed.path):
        return {}
    if recipe.seed.path == EMBEDDED:
        return {"generator": {"paragraphs": EMBEDDED}, "prompts": 10_000, "pairs": 2_000}
    seeds, _ = read_seeds(Path(recipe.seed.path))
    lists = keyword_pool(question_texts(seeds)).capacity // 4  # well below all, since prompts share words
    share = 1 + method.more_prompts
    prompts = min(method.prompts, max(1, int(lists / recipe.run.iterations / share)))
    return {"prompts": prompts, "pairs": max(1, prompts // 5)}


def _absolute(path: str) -> str:
    return str(Path(path).resolve()) if path != EMBEDDED and Path(path).exists() else path
