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
    """Those of the embedded seed's held-out prompts."""
    return gold_answers([EMBEDDED_FILES / "held_out.jsonl"])


def is_embedded(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe measures on the embedded held-out prompts."""
    return flat(recipe).get("seed.held_out") == EMBEDDED
