"""Reads the records of a run's stages one at a time: a stage may hold gigabytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from selfboost import store

Record = TypeVar("Record")


def rows(root: Path, card: store.StageCard, kind: type[Record]) -> Iterator[Record]:
    """The records of a stage.

    Raises:
        ValueError: a line is not such a record.
    """
    adapter = TypeAdapter(kind)
    path = root / store.STAGES / card.name / store.ROWS
    if card.rows == 0 and not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield adapter.validate_json(line)
            except ValueError:
                raise ValueError(f"{path} line {number} is not a valid {kind.__name__} record") from None
