"""The prompts set aside from the base model's training: seed, validation and held-out, with right answers."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from selfboost.demo.checks import FAMILIES, read

SEED_SIZE, VALIDATION_SIZE, HELD_OUT_SIZE = 1020, 306, 500


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Three disjoint lists of (prompt, right answer)."""

    seed: list[tuple[str, str]]
    validation: list[tuple[str, str]]
    held_out: list[tuple[str, str]]

    @property
    def reserved(self) -> frozenset[str]:
        """Every prompt of the three lists."""
        return frozenset(prompt for part in (self.seed, self.validation, self.held_out) for prompt, _ in part)


def draw_splits(seed: int) -> Splits:
    """Different prompts; the families take turns, so that the first n prompts of each list cover all of them evenly."""
    rng, used = Random(seed), set[str]()
    parts = [[_draw(rng, used, index) for index in range(size)] for size in (HELD_OUT_SIZE, VALIDATION_SIZE, SEED_SIZE)]
    return Splits(held_out=parts[0], validation=parts[1], seed=parts[2])


def _draw(rng: Random, used: set[str], index: int) -> tuple[str, str]:
    family = FAMILIES[index % len(FAMILIES)]
    while (prompt := family.ask(rng)) in used:
        pass
    used.add(prompt)
    task = read(prompt)
    assert task is not None, f"family {family.name} cannot read its own prompt: {prompt}"
    return prompt, task.gold(rng)


def write_pairs(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """One JSON object per line: `prompt` and `response`."""
    write_lines(path, ({"prompt": prompt, "response": response} for prompt, response in pairs))


def write_lines(path: Path, records: Iterable[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
