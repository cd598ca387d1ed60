"""Follows files of records that another process writes: whole lines as they come, an incomplete last one never."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from selfboost import store
from selfboost.data.files import LONGEST_LINE, lines_of
from selfboost.disk import files
from selfboost.stages import WEIGHTS
from selfboost.store.cards import PACKED, ROWS

FIRST = "held_out"
"""Part of the names of stages that are read before others: their answers are few, and looked at most."""
BATCH = 200
"""Lines that are handed over at a time."""
STEP = 4 * 2**20
"""Bytes that are read at a time."""


@dataclass(frozen=True, kw_only=True)
class RecordFile:
    """The file of a stage's records, finished or growing."""

    stage: str
    path: Path
    size: int
    file: int
    """Its inode: a folder that is renamed keeps it."""
    open: bool
    """Whether the stage is still being made."""


@dataclass(kw_only=True)
class Tail:
    """How far a stage's file has been read."""

    file: int = -1
    offset: int = 0
    lines: int = 0
    faults: list[int] = field(default_factory=list[int])
    """Numbers of lines that are no records."""

    def behind(self, found: RecordFile) -> bool:
        """Whether the file has more, or is another one by now."""
        packed = found.path.name == PACKED
        return self.file != found.file or (self.offset != found.size if packed else self.offset < found.size)

    def restarted(self, found: RecordFile) -> bool:
        """Whether what was read before is not what the file begins with now; then it is read from its start."""
        if self.file == found.file and self.offset <= found.size:
            return False
        known, self.file, self.offset, self.lines, self.faults = self.file, found.file, 0, 0, []
        return known >= 0

    def batches(self, found: RecordFile) -> Iterator[list[tuple[int, bytes]]]:
        """The next whole lines with their numbers from 0, some at a time.

        Raises:
            ValueError: the file is no plain file, or has a line that is too long.
        """
        batch: list[tuple[int, bytes]] = []
        for line in self._packed(found) if found.path.name == PACKED else self._plain(found):
            batch.append((self.lines, line))
            self.lines += 1
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _plain(self, found: RecordFile) -> Iterator[bytes]:
        size, longest = found.size, STEP
        with files.open_to_read(found.path) as file:
            while self.offset < size:
                file.seek(self.offset)
                whole = file.read(min(longest, size - self.offset))
                end = whole.rfind(b"\n") + 1
                if not end and len(whole) < longest:
                    return  # its end is still to come
                if not end and longest >= LONGEST_LINE:
                    raise ValueError(f"{found.path}: has a line of more than {LONGEST_LINE:,} bytes")
                longest = STEP if end else 4 * longest
                self.offset += end
                yield from whole[:end].split(b"\n")[:-1]

    def _packed(self, found: RecordFile) -> Iterator[bytes]:
        yield from lines_of(found.path)
        self.offset = found.size


def record_files(root: Path) -> dict[str, RecordFile]:
    """The record files of a run by stage, those that matter most first.

    A stage that is being made again counts as open, and its old result is left out.
    """
    found: dict[str, RecordFile] = {}
    for place, folders, names in os.walk(root / store.STAGES):
        name = next((name for name in (ROWS, PACKED) if name in names), "")
        folders[:] = sorted(each for each in folders if files.BROKEN not in each and not (name and each == WEIGHTS))
        relative = Path(place).relative_to(root / store.STAGES).as_posix()
        stage, _, partial = relative.partition(store.PARTIAL)
        if not name or "/" in partial or (stage in found and not partial):
            continue
        try:
            stat = os.stat(Path(place, name))
        except OSError:  # renamed or removed meanwhile
            continue
        found[stage] = RecordFile(
            stage=stage,
            path=Path(place, name),
            size=stat.st_size,
            file=stat.st_ino,
            open=bool(partial),
        )
    return dict(sorted(found.items(), key=lambda item: (not item[1].open, FIRST not in item[0])))
