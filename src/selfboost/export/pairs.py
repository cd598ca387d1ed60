"""A run's preference pairs as a Parquet data set, as TRL, `datasets` and the method manual_data read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow

from selfboost import store
from selfboost.export.parquet import write_parquet
from selfboost.records import Message, Pair

pa = cast(Any, pyarrow)
FOLDER = "pairs"
FILE = Path("data") / "train-00000-of-00001.parquet"
"""As the hub names a data set's only file."""
TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("iteration", pa.int64()),
        ("prompt", TURNS),
        ("chosen", TURNS),
        ("rejected", TURNS),
        ("chosen_score", pa.float64()),
        ("rejected_score", pa.float64()),
        ("scorer", pa.string()),
        ("prefix", pa.string()),
        ("prompt_source", pa.string()),
        ("prompt_iteration", pa.int64()),
        ("prompt_parent", pa.string()),
        ("keywords", pa.list_(pa.string())),
        ("chosen_model", pa.string()),
        ("rejected_model", pa.string()),
    ]
)


@dataclass(kw_only=True)
class PairCounts:
    """What was seen of the pairs while they were written."""

    by_iteration: Counter[int] = field(default_factory=Counter[int])
    by_source: Counter[str] = field(default_factory=Counter[str])
    """By where their prompts come from: `seed`, or the stage that generated them."""
    scorers: Counter[str] = field(default_factory=Counter[str])
    """By who scored; pairs that needed no score are left out."""

    @property
    def total(self) -> int:
        """All pairs."""
        return self.by_iteration.total()

    def add(self, pair: Pair) -> None:
        """Count one."""
        self.by_iteration[pair.iteration] += 1
        self.by_source[pair.prompt.origin.source] += 1
        if pair.scorer:
            self.scorers[pair.scorer] += 1


def pairs_of(root: Path) -> Iterator[Pair]:
    """Every pair that an iteration's training saw, once.

    Raises:
        ValueError: a stage's file is missing, or a line of it is no pair.
    """
    seen = set[int]()
    for card in store.cards(root):
        if card.verb != "prefer" or not card.name.startswith("iteration-"):
            continue
        for pair in store.stored_rows(root, card, Pair):
            identity = int(pair.id.removeprefix("pair-"), 16)
            if identity not in seen:
                seen.add(identity)
                yield pair


def write_pairs(root: Path, into: Path) -> PairCounts:
    """Write the data set's file.

    Raises:
        ValueError: a stage's file is missing, or a line of it is no pair.
    """
    counts = PairCounts()

    def rows() -> Iterator[Mapping[str, Any]]:
        for pair in pairs_of(root):
            counts.add(pair)
            yield _row(pair)

    path = into / FILE
    path.parent.mkdir(parents=True)
    write_parquet(path, rows(), SCHEMA)
    return counts


def _row(pair: Pair) -> dict[str, Any]:
    origin = pair.prompt.origin
    return {
        "id": pair.id,
        "iteration": pair.iteration,
        "prompt": [asdict(message) for message in pair.prompt.messages],
        "chosen": _answer(pair.prompt.prefix, pair.chosen.text),
        "rejected": _answer(pair.prompt.prefix, pair.rejected.text),
        "chosen_score": pair.chosen_score,
        "rejected_score": pair.rejected_score,
        "scorer": pair.scorer,
        "prefix": pair.prompt.prefix,
        "prompt_source": origin.source,
        "prompt_iteration": origin.iteration,
        "prompt_parent": origin.parent,
        "keywords": list(origin.keywords),
        "chosen_model": pair.chosen.model_name,
        "rejected_model": pair.rejected.model_name,
    }


def _answer(prefix: str, text: str) -> list[dict[str, str]]:
    """The assistant's turn; a forced beginning belongs to what it says."""
    return [asdict(Message(role="assistant", content=prefix + text))]
