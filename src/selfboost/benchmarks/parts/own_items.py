"""Items of a benchmark's own in a run: some decide, the others are reported, the same ones for every model."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from selfboost.records import Rated


def of_split(rated: Sequence[Rated], split: str, validation: float) -> list[Rated]:
    """The items of a split, drawn by the hash of their ids; all of them outside a run, where the split is `all`.

    `validation`: share on which decisions are made; each split has an item at least.
    """
    if split not in ("validation", "held_out"):
        return list(rated)
    drawn = sorted(rated, key=lambda each: sha256(each.prompt.encode()).digest())
    count = max(1, min(len(drawn) - 1, round(validation * len(drawn))))
    chosen = {each.prompt for each in (drawn[:count] if split == "validation" else drawn[count:])}
    return [each for each in rated if each.prompt in chosen]
