"""The seed of a run: read, and split by prompt into training seeds, validation and held-out prompts.

`seed.limit` takes a random draw by the run's seed; of the embedded seed, which is in random order already, the first
ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from selfboost.data.columns import RECOGNISE, Columns
from selfboost.data.hub_data import is_hub_name
from selfboost.data.seeds import Seed, Turns, read_seeds, shuffled, split
from selfboost.demo import EMBEDDED, EMBEDDED_FILES
from selfboost.setting_types import MOST_ROWS, NEW, PathOrCount, PathOrName


@dataclass(frozen=True, kw_only=True)
class SeedSource:
    """The seed: prompts with good answers, and the prompts set aside for measuring."""

    path: PathOrName
    """JSONL, JSON, CSV (.gz too) or Parquet, a folder of them or of save_to_disk; a hub data set by its name
    (owner/name or owner/name:split); or `embedded`."""
    columns: Columns = field(default_factory=Columns, metadata=NEW)
    """Which columns hold what, where they are not recognised; of files named for `validation` and `held_out` too."""
    turns: Turns = "last"
    """For messages: use the conversation up to the assistant's last answer, or only its first request and answer."""
    limit: Annotated[int, Field(ge=0, le=MOST_ROWS)] = 0
    """Training seeds to use (0 = all): a random draw by the run's seed; of the embedded seed, the first ones."""
    validation: PathOrCount = 200
    """Prompts on which choices are made: a file or data set, or how many to set aside from the seed."""
    held_out: PathOrCount = 200
    """Prompts on which results are reported, never used for a choice: a file or data set, or how many to set aside."""


@dataclass(frozen=True, kw_only=True)
class SeedData:
    """Seeds by use; no prompt has two uses."""

    train: Sequence[Seed]
    validation: Sequence[Seed]
    held_out: Sequence[Seed]
    notes: Sequence[str] = ()
    """What was dropped and why, in sentences."""


def load_seed_data(source: SeedSource, seed: int) -> SeedData:
    """Read and split.

    Raises:
        ValueError: a file is wrong, or there are too few prompts.
    """
    train, notes = read_source(source)
    counts = [value if isinstance(value, int) else 0 for value in (source.validation, source.held_out)]
    apart: list[list[Seed]] = [[], []]
    if any(counts):
        train, *apart = split(train, counts[0], counts[1], seed)  # now in random order
    elif 0 < source.limit < len(train) and source.path != EMBEDDED:
        train = shuffled(train, seed)
    for i, (name, value) in enumerate((("validation", source.validation), ("held_out", source.held_out))):
        if isinstance(value, str):
            columns = RECOGNISE if value == EMBEDDED else source.columns
            apart[i], more = read_seeds(place_of(value, name), need_response=False, turns=source.turns, columns=columns)
            notes += more
    validation, held_out = apart
    measured = {s.messages for s in validation} | {s.messages for s in held_out}
    clean = [s for s in train if s.messages not in measured]
    if len(clean) < len(train):
        notes.append(f"{len(train) - len(clean)} seeds dropped: they are validation or held-out prompts")
    both = {s.messages for s in validation} & {s.messages for s in held_out}
    if both:
        raise ValueError(f"seed.validation and seed.held_out share {len(both)} prompts; they must be disjoint")
    if not clean:
        raise ValueError("no seeds are left to train on: every one is a validation or held-out prompt")
    return SeedData(
        train=clean[: source.limit] if source.limit else clean, validation=validation, held_out=held_out, notes=notes
    )


def read_source(source: SeedSource) -> tuple[list[Seed], list[str]]:
    """All seeds of `seed.path`, and sentences on what was dropped or ignored.

    Raises:
        ValueError: as `read_seeds`.
    """
    columns = RECOGNISE if source.path == EMBEDDED else source.columns
    return read_seeds(place_of(source.path, "seed"), turns=source.turns, columns=columns)


def place_of(path: str, name: str) -> str | Path:
    """A hub data set's name unchanged, otherwise the path of the file or folder; `name`: of the embedded data."""
    if path == EMBEDDED:
        return EMBEDDED_FILES / f"{name}.jsonl"
    return path if is_hub_name(path) else Path(path).expanduser()
