"""Gold answers to held-out prompts. A run's folder does not keep them: they come from data that the user names.

A run on the embedded seed needs none: its data come with selfboost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfboost.data.seeds import read_seeds
from selfboost.demo import EMBEDDED, EMBEDDED_FILES
from selfboost.disk.json_files import flat
from selfboost.records import Origin, Prompt

MOST_BYTES = 1 << 26
"""The largest seed that is read again for its good answers."""


def gold_answers(sources: Sequence[Path]) -> dict[str, str]:
    """Prompt's id → good answer, of all files.

    Raises:
        ValueError: a file cannot be read as a seed.
    """
    found: dict[str, str] = {}
    for source in sources:
        for seed in read_seeds(source, need_response=False)[0]:
            if seed.response:
                found[Prompt(messages=seed.messages, origin=Origin(source="held_out")).id] = seed.response
    return found


def embedded_gold() -> dict[str, str]:
    """Those of the embedded seed, whose prompts a recipe may hold out too."""
    return gold_answers([EMBEDDED_FILES / f"{name}.jsonl" for name in ("seed", "held_out")])


def gold_of_seed(sources: Sequence[str | int]) -> dict[str, str]:
    """Those that a recipe's own seed files hold: empty where they are no files of moderate size, or cannot be read."""
    files = [Path(source) for source in sources if isinstance(source, str) and source]
    try:
        return gold_answers([path for path in files if path.is_file() and path.stat().st_size <= MOST_BYTES])
    except (OSError, ValueError):
        return {}


def is_embedded(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe measures on the embedded held-out prompts."""
    return EMBEDDED in (flat(recipe).get("seed.path"), flat(recipe).get("seed.held_out"))
