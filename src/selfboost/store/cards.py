"""The card of a stage: what describes a finished one, sealed with a hash of itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from selfboost.disk.compressed_lines import ENDING
from selfboost.disk.json_files import read_json
from selfboost.disk.record_files import adapter_of
from selfboost.records import content_hash

ROWS = "records.jsonl"
PACKED = ROWS + ENDING
"""The records of a large stage, compressed."""
CARD = "stage.json"


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """Another stage whose own records are the first, or the next, of a stage."""

    name: str
    fingerprint: str
    rows: int

    def is_that(self, card: StageCard) -> bool:
        """Whether a card is that stage's."""
        return card.fingerprint == self.fingerprint and card.own_rows == self.rows


@dataclass(frozen=True, kw_only=True)
class StageCard:
    """A finished stage's description (its `stage.json`)."""

    name: str
    verb: str
    fingerprint: str
    parts: Mapping[str, Any]
    """Everything that determines the result: settings, hashes of the inputs, version of the code."""
    rows: int = 0
    """Records, those of `earlier` stages included."""
    tokens: int = 0
    seconds: float = 0.0
    file: str = ""
    """The file that holds the result, relative to the run's folder."""
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Facts for readers: truncated answers, failures, training history …"""
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    """Every file of the stage: size in bytes and SHA-256 (empty for large files)."""
    seal: str = ""
    """Hash of all the rest; empty in a card that version 0.1.0 wrote."""
    earlier: tuple[Earlier, ...] = ()
    """Stages whose own records come before this one's own, in order: they are not stored twice."""
    all_records: tuple[int, str] = (0, "")
    """With `earlier` ones, or compressed: the size and hash of a plain file that held them all."""

    @property
    def known_by(self) -> dict[str, list[int | str]]:
        """What identifies the result: its files, as they would be without `earlier` and without compression."""
        plain = {name: each for name, each in self.files.items() if name != PACKED}
        whole = {ROWS: self.all_records} if self.all_records[0] else {}
        return {name: list(each) for name, each in (plain | whole).items()}

    @property
    def made(self) -> str:
        """Fingerprint of the model that a training stage made."""
        return content_hash([self.fingerprint, self.known_by])

    @property
    def own_rows(self) -> int:
        """Records in this stage's own file."""
        return self.rows - sum(each.rows for each in self.earlier)

    @property
    def warnings(self) -> list[str]:
        """The note of this name: sentences."""
        found = self.notes.get("warnings")
        return [each for each in cast("list[Any]", found) if isinstance(each, str)] if isinstance(found, list) else []

    @property
    def history(self) -> list[Mapping[str, float]]:
        """The note of this name: the numbers of each reported step of a training, its `step` among them."""
        found = self.notes.get("history")
        rows = map(_numbers, cast("list[Any]", found) if isinstance(found, list) else [])
        return [row for row in rows if "step" in row]

    @property
    def facts(self) -> Mapping[str, float]:
        """The note of this name: numbers about a whole training."""
        return _numbers(self.notes.get("facts"))


def _numbers(found: Any) -> Mapping[str, float]:
    """The finite numbers of a JSON object."""
    items = cast(Mapping[str, Any], found).items() if isinstance(found, Mapping) else ()
    # An integer that no float can hold is not a measurement.
    return {name: x for name, x in items if isinstance(x, int | float) and abs(x) <= sys.float_info.max}


def sealed(card: StageCard) -> StageCard:
    """The card with the hash of all the rest of it, as it is when it is read again."""
    read = adapter_of(StageCard).validate_python(json.loads(json.dumps(asdict(replace(card, seal="")))))
    plain = asdict(read)
    if not (read.earlier or read.all_records[0]):
        del plain["earlier"], plain["all_records"]  # cards were sealed before there were such fields
    return replace(card, seal=content_hash(plain))


def read_card(folder: Path) -> StageCard | None:
    """The card of a finished stage, or None if the folder holds none.

    Raises:
        ValueError: the card is damaged.
    """
    path = folder / CARD
    if not path.exists():
        return None
    found = read_json(path)
    try:
        card = cast(StageCard, adapter_of(StageCard).validate_python(found))
    except ValidationError as error:
        raise ValueError(f"{path}: is damaged ({error.error_count()} wrong fields)") from error
    if card.seal and sealed(card).seal != card.seal:
        raise ValueError(f"{path}: is damaged (it does not have the hash that it was sealed with)")
    return card
