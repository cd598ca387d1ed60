"""Stand-ins for hub data and for a run's engine while a recipe is planned: nothing here is a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, overload

from selfboost.data.columns import RECOGNISE, Columns
from selfboost.data.hub_data import ASSUMED_ROWS, is_hub_name
from selfboost.data.seed_data import SeedData, SeedSource, load_seed_data
from selfboost.data.seeds import Seed
from selfboost.engines.fake import Fake, FakeTokenizer
from selfboost.plan.texts import Texts, made_up_seed
from selfboost.records import Message, Model

ASSUMED_MEASURED = 500
"""Rows assumed for a data set that is measured on."""


def planned_seeds(source: SeedSource, seed: int) -> SeedData:
    """The seed's data, with made-up rows in place of hub data sets.

    Raises:
        ValueError: a file is invalid, or there are too few prompts.
    """
    made_up, columns = Texts(0.0, 0.0), source.columns
    with TemporaryDirectory() as folder:
        changes: dict[str, Any] = {}
        for name in ("validation", "held_out"):
            if isinstance(value := getattr(source, name), str) and is_hub_name(value):
                changes[name] = write_seeds(Path(folder) / f"{name}.jsonl", made_up.seeds(ASSUMED_MEASURED), columns)
        if not is_hub_name(source.path):
            return load_seed_data(replace(source, **changes), seed)
        # The rest is read for real; only the number of seeds is known.
        apart = [value for value in (source.validation, source.held_out) if isinstance(value, int)]
        changes |= {
            "limit": 0,
            "path": write_seeds(Path(folder) / "seed.jsonl", made_up.seeds(1 + sum(apart)), columns),
        }
        measured = load_seed_data(replace(source, **changes), seed)
        return replace(measured, train=MadeUpSeeds(source.limit or ASSUMED_ROWS))


def write_seeds(path: Path, seeds: Sequence[Seed], columns: Columns = RECOGNISE) -> str:
    """Write seeds as JSON lines that a recipe can name, and return the path. `columns`: those that the recipe names."""
    with path.open("w", encoding="utf-8") as file:
        for seed in seeds:
            row = columns.row([asdict(message) for message in seed.messages], seed.response)
            file.write(json.dumps(row) + "\n")
    return str(path)


class MadeUpSeeds(Sequence[Seed]):
    """Made-up seeds, each created on access: a plan mostly asks how many there are."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Seed: ...
    @overload
    def __getitem__(self, index: slice) -> list[Seed]: ...
    def __getitem__(self, index: int | slice) -> Seed | list[Seed]:
        if isinstance(index, slice):
            return [made_up_seed(i) for i in range(self._count)[index]]
        return made_up_seed(range(self._count)[index])


class CountingTokenizer(FakeTokenizer):
    """Gives made-up texts roughly as many tokens as the true ones have."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    def prompt_ids(self, messages: Sequence[Message], prefix: str = "") -> tuple[int, ...]:
        """`count` equal ids."""
        return self._texts.asked(messages, prefix).prompt_ids

    def answer_ids(self, text: str) -> tuple[int, ...]:
        """`count` ids that no other text has."""
        return (hash(text),) * max(1, round(self._texts.of(text).mean))


@dataclass(frozen=True, kw_only=True)
class StandIn(Fake):
    """The engine of a rehearsal: every path is a model."""

    texts: Texts

    def tokenizer(self, model: Model) -> CountingTokenizer:
        """The same for all models."""
        del model
        return CountingTokenizer(self.texts)

    def fingerprint(self, path: str) -> str:
        """The path itself."""
        return path
