"""The reference model's log-probabilities of pairs: computed once for a model and a pair, and kept on disk.

One file per reference and number type, one line per pair, added block by block: a killed computation resumes where it
was, and pairs that come up again in a later training are not recomputed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from selfboost.disk.files import open_to_add, open_to_change
from selfboost.records import content_hash
from selfboost.train.packs.rows import Item, hash_items

References = Mapping[str, tuple[float, float]]
"""A pair's id → the reference model's summed log-probabilities of its chosen and its rejected completion."""
Compute = Callable[[Sequence[Item]], Sequence[tuple[float, float]]]
BLOCK = 1024
"""Pairs computed between writes: the most that a kill can cost."""


@dataclass(frozen=True)
class ReferenceCache:
    """The stored log-probabilities of one reference model."""

    file: Path | None
    """None: nothing is stored."""

    @classmethod
    def of(cls, folder: Path | None, fingerprint: str, *numerics: object) -> ReferenceCache:
        """The cache of a model in a folder; `numerics`: what else changes its log-probabilities."""
        return cls(None if folder is None else folder / f"{content_hash([fingerprint, *numerics])[:16]}.jsonl")

    def complete(self, items: Sequence[Item], compute: Compute, *, keep: bool = True) -> References:
        """The log-probabilities of all items; missing ones are computed and, if there is a file, stored."""
        keys = [hash_items([Item("", item.rows)]) for item in items]
        known = self._read()
        missing = list({key: item for key, item in zip(keys, items, strict=True) if key not in known}.items())
        for start in range(0, len(missing), BLOCK):
            block = missing[start : start + BLOCK]
            found = dict(zip((key for key, _ in block), compute([item for _, item in block]), strict=True))
            if keep:
                self._append(found)
            known |= found
        return {item.id: known[key] for key, item in zip(keys, items, strict=True)}

    def _read(self) -> dict[str, tuple[float, float]]:
        if self.file is None or not self.file.exists():
            return {}
        with open_to_change(self.file) as file:
            data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            if whole != data:  # a write was cut off
                file.truncate(len(whole))
        found: dict[str, tuple[float, float]] = {}
        for line in whole.splitlines():
            with suppress(ValueError, KeyError, TypeError):  # a damaged line is recomputed
                row = json.loads(line)
                found[row["pair"]] = (float(row["chosen"]), float(row["rejected"]))
        return found

    def _append(self, found: Mapping[str, tuple[float, float]]) -> None:
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"pair": key, "chosen": chosen, "rejected": rejected} for key, (chosen, rejected) in found.items()]
        with open_to_add(self.file) as file:
            file.writelines(f"{json.dumps(row)}\n".encode() for row in rows)
            file.flush()
            os.fsync(file.fileno())
