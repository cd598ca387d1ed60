"""Seeds of which a stated share has a sloppy answer where the gold one was: what a careless annotator leaves behind.

A sloppy answer has a mistake of the kinds that the embedded model learned from, habits and slips in its families'
proportions, and fails the world's own check. Left out: golds that are right but poorly said.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random

from selfboost.demo import EMBEDDED_FILES
from selfboost.demo.checks import read
from selfboost.demo.sloppiness import Sloppiness
from selfboost.demo.splits import write_pairs

Gold = tuple[str, str]
"""(prompt, answer)"""


def seed_file(into: Path, golds: int, share: float, seed: int = 0) -> Path:
    """Write the first `golds` embedded seeds as JSONL, a `share` of them sloppy; the same file whenever asked for.

    Raises:
        ValueError: there are not so many, or the share is none.
    """
    path = into / f"{golds}-golds-{100 * share:.0f}-percent-sloppy.jsonl"
    return _written(path, spoilt(embedded("seed", golds), share, seed))


def validation_file(into: Path, prompts: int) -> Path:
    """Write the first `prompts` embedded validation prompts: for runs in which nothing is chosen by them."""
    return _written(into / f"{prompts}-validation-prompts.jsonl", embedded("validation", prompts))


def embedded(name: str, count: int) -> list[Gold]:
    """The first of an embedded file.

    Raises:
        ValueError: there are not so many.
    """
    rows = [json.loads(line) for line in (EMBEDDED_FILES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    if not 0 < count <= len(rows):
        raise ValueError(f"{count} prompts of {name}: must be 1 to {len(rows)}")
    return [(row["prompt"], row["response"]) for row in rows[:count]]


def _written(path: Path, golds: Iterable[Gold]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_pairs(path, golds)
    return path


def spoilt(golds: Sequence[Gold], share: float, seed: int = 0) -> Iterator[Gold]:
    """The same prompts in the same order, a share of the answers sloppy.

    A larger share spoils the same golds, in the same way, and more of them, so that quality is all that differs.

    Raises:
        ValueError: the share is none.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share = {share}: must be 0 to 1")
    mixed = sorted(golds, key=lambda gold: Random(f"{seed} which {gold[0]}").random())
    sloppy = {prompt for prompt, _ in mixed[: round(share * len(golds))]}
    for prompt, answer in golds:
        yield prompt, sloppy_answer(Random(f"{seed} how {prompt}"), prompt, answer) if prompt in sloppy else answer


def sloppy_answer(rng: Random, prompt: str, gold: str) -> str:
    """The gold answer with a mistake that the check finds."""
    task = read(prompt)
    assert task is not None, f"a seed's prompt is a task of the world: {prompt}"
    answer = gold
    while task.accepts(answer):
        answer = Sloppiness().answer(rng, task, gold)
    return answer
