"""Notes on who judges: what lies behind a server cannot be seen, and who chooses should not be who reports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from selfboost.endpoints import endpoints_of
from selfboost.endpoints.connection import check_ready
from selfboost.plan.model_size import local_folder
from selfboost.recipe import Recipe
from selfboost.recipe_parts import scorers_of
from selfboost.scorers import Scorer

FAMILIES = re.compile(
    "(?<![a-z])(?:claude|command|deepseek|falcon|gemini|gemma|glm|gpt|granite|grok|llama|mistral|mixtral|nemotron|"
    "olmo|phi|qwen|yi)(?![a-z])"
)
"""Families of language models that a name may hold anywhere: reward models are called after their base model too."""
WORD = re.compile("[a-z]+")


def server_notes(recipe: Recipe) -> list[str]:
    """What is not known of the models behind servers, which `check` does not contact.

    Raises:
        ValueError: the SDK or the key is missing.
    """
    found = endpoints_of(recipe)
    for endpoint in found:
        check_ready(endpoint)
    return [
        f"{each.model} at {each.address} is not contacted here: whether it answers, its limits and its prices show "
        "when the run starts asking"
        for each in found
    ]


def report_notes(recipe: Recipe, used: Iterable[Scorer | None]) -> list[str]:
    """A note where the scorer and a scorer of the benchmark are one model, or of one family; `used`: those at work."""
    if all(scorer != recipe.scorer for scorer in used):
        return []
    choosing, reporting = _models(recipe.scorer), _models(recipe.benchmark)
    same = sorted(set(choosing) & set(reporting))
    if same:
        return [f"{same[0]} chooses pairs and reports results: a run that learns to please it looks better than it is"]
    pairs = ((one, other, sorted(family(one) & family(other))) for one in choosing for other in reporting)
    return [
        f"{one} (scorer) and {other} (benchmark) are of one family ({', '.join(shared)}), so they may share their "
        "mistakes: another family reports more independently"
        for one, other, shared in pairs
        if shared
    ]


def family(model: str) -> frozenset[str]:
    """The families that a model belongs to, by folder, hub name or name on a server; two models share one if any is.

    Of a folder, its architecture (`model_type` of config.json), without digits. Of a name, what follows the last `/`
    in lower case: its first word, without digits (`skywork`, `pairrm`), and every word of `FAMILIES`.
    Left out: what a name does not say, such as that Zephyr was trained from Mistral.
    """
    folder = local_folder(model)
    if folder is not None and (folder / "config.json").is_file():
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return frozenset(WORD.findall(str(config.get("model_type", "")).lower())[:1])
    name = model.rpartition("/")[2].lower()
    return frozenset(WORD.findall(name)[:1]) | frozenset(FAMILIES.findall(name))


def _models(component: Any) -> Sequence[str]:
    """Names of the models by which a component's scorers judge, its own included."""
    scorers = [component] if hasattr(component, "needs") else scorers_of(component)
    needed = [name for scorer in scorers for name in scorer.needs().values()]
    return list(dict.fromkeys([*needed, *(endpoint.model for endpoint in endpoints_of(component))]))
