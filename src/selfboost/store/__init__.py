"""The run's folder: stages are written atomically, fingerprinted by their inputs, and never computed twice.

A stage grows in `NAME.partial-FINGERPRINT/` and is renamed to `NAME/` when it is complete; a kill at any moment leaves
one or the other. A result that another recipe replaces is moved to `superseded/`, and restored from there; a broken one
is renamed to `NAME.broken-1`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from selfboost.disk import files
from selfboost.disk.compressed_lines import compress, decompress
from selfboost.disk.json_files import flat, write_json
from selfboost.disk.locks import check_held
from selfboost.disk.record_files import StoredRows, lines_in, lines_of
from selfboost.disk.sequences import Joined
from selfboost.records import content_hash
from selfboost.store.cards import CARD, PACKED, ROWS, Earlier, StageCard, read_card, sealed

Record = TypeVar("Record")

STAGES = "stages"
SUPERSEDED = "superseded"
PARTIAL = ".partial-"
"""In the name of a stage's folder while it grows."""
COMPRESSED = 64 * 2**20
"""Records of more bytes than this are compressed once their stage is finished."""
LARGE = 64 * 2**20
"""Files beyond this many bytes (weights) are verified by size alone, smaller ones by their hash."""


class Stage:
    """A stage of a run: open for writing in its partial folder, or finished."""

    def __init__(self, root: Path, name: str, verb: str, parts: Mapping[str, Any]) -> None:
        self.root, self.name, self.verb, self.parts = root, name, verb, parts
        self.fingerprint = content_hash(parts)
        self.folder = root / STAGES / name
        self.partial = self.folder.with_name(f"{self.folder.name}{PARTIAL}{self.fingerprint[:8]}")
        self.broken: list[str] = []
        """What was found broken, and where it was put, in sentences."""

    def card(self) -> StageCard | None:
        """The card of the finished stage with exactly this fingerprint, its files checked; None where there is none.

        What is broken is renamed (`broken` says so) and counts as missing.
        """
        if (self.partial / CARD).exists() and self._whole(self.partial):  # killed between the last write and the rename
            self._put_in_place()
        kept = _aside(self.root, self.name, self.fingerprint)
        current = self._current()
        if current is not None and current.fingerprint == self.fingerprint:
            current = self._whole(self.folder)
        back = (current is None or current.fingerprint != self.fingerprint) and (kept / CARD).exists()
        if back and (whole := self._whole(kept)):
            self._set_current_aside()
            kept.rename(self.folder)
            current = whole
        return current if current is not None and current.fingerprint == self.fingerprint else None

    def replaced(self) -> list[str]:
        """Names of the parts that differ from the result in this stage's place; empty if there is none."""
        current = self._current()
        if current is None or current.fingerprint == self.fingerprint:
            return []
        now, was = flat(json.loads(json.dumps(self.parts))), flat(current.parts)  # both as JSON has them
        return sorted(key for key in now.keys() | was.keys() if now.get(key) != was.get(key))

    def begin(self) -> Path:
        """The partial folder, created unless an earlier attempt left it."""
        files.refuse_links_on_the_way(self.root, self.partial)
        self.partial.mkdir(parents=True, exist_ok=True)
        return self.partial

    def begin_again(self, why: str) -> None:
        """Set an earlier try aside; `why` says what is wrong with it."""
        self._set_broken_aside(self.partial, why)

    def rows_so_far(self, kind: type[Record]) -> Sequence[Record]:
        """Records already written by a killed attempt; an incomplete last line is cut off the file."""
        path = self.begin() / ROWS
        if not path.exists() and (self.partial / PACKED).exists():  # killed while it was finished
            decompress(path)
        if not os.path.lexists(path):
            return []
        files.refuse_link(path)
        files.cut_to_lines(path)
        return StoredRows(path, kind)

    def append(self, records: Iterable[object]) -> None:
        """Add records to the partial file; they survive a kill once this returns."""
        check_held(self.root)
        with files.open_to_add(self.begin() / ROWS) as file:
            file.writelines(lines_of(records))
            files.sync(file)

    def finish(
        self,
        *,
        rows: int,
        tokens: int,
        seconds: float,
        result: str,
        notes: Mapping[str, Any],
        earlier: tuple[Earlier, ...] = (),
    ) -> StageCard:
        """Seal the stage: card written last, then one rename. `rows` counts the records of `earlier` stages too.

        Raises:
            LockLost: another run may be writing this folder.
            ValueError: the file does not hold as many records as the card would say.
        """
        self.append(())
        check_rows(self.partial, rows - sum(each.rows for each in earlier))
        whole = self._measure_all(earlier)
        self._compress_if_large()
        card = sealed(
            StageCard(
                name=self.name,
                verb=self.verb,
                fingerprint=self.fingerprint,
                parts=self.parts,
                rows=rows,
                tokens=tokens,
                seconds=round(max(seconds, 0.0), 3),
                file=f"{STAGES}/{self.name}/{result}".rstrip("/"),
                notes=notes,
                earlier=earlier,
                files={p.relative_to(self.partial).as_posix(): _measure(p) for p in sorted(_files(self.partial))},
                all_records=whole,
            )
        )
        write_json(self.partial / CARD, asdict(card))
        check_held(self.root)
        self._put_in_place()
        return card

    def _measure_all(self, earlier: tuple[Earlier, ...]) -> tuple[int, str]:
        """Size and hash of a plain file of all records, those of earlier stages first.

        Nothing where the stage's own file is that: where there are no earlier stages, and it is not compressed.
        """
        own = self.partial / ROWS
        if not earlier and own.stat().st_size <= COMPRESSED:
            return 0, ""
        folders = [folder for folder, _ in _earlier_parts(self.root, self.name, earlier)] + [self.partial]
        size, digest = 0, hashlib.sha256()
        for folder in folders:
            for block in lines_in(folder / ROWS).blocks():
                size += len(block)
                digest.update(block)
        return size, "" if size > LARGE else digest.hexdigest()

    def _compress_if_large(self) -> None:
        """Replace the records by a compressed file where that spares much; the file's members are found quickly."""
        path = self.partial / ROWS
        if path.stat().st_size > COMPRESSED:
            compress(path)
            path.unlink()

    def _put_in_place(self) -> None:
        self._set_current_aside()
        self.partial.rename(self.folder)

    def _set_current_aside(self) -> None:
        current = self._current()
        if current is not None:
            aside = _aside(self.root, self.name, current.fingerprint)
            files.refuse_links_on_the_way(self.root, aside.parent)
            aside.parent.mkdir(exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            self.folder.rename(aside)

    def _current(self) -> StageCard | None:
        """The card of the result in this stage's place; anything without a readable one is set aside."""
        if not os.path.lexists(self.folder):
            return None
        try:
            if current := read_card(self.folder):
                return current
            why = f"{self.folder}: holds no {CARD}"
        except ValueError as error:
            why = str(error)
        if any(self.folder.rglob(CARD)) and not (self.folder / CARD).exists():
            raise ValueError(f"{why}, so it is not a stage, but stages are in it; move it away")
        self._set_broken_aside(self.folder, why)
        return None

    def _whole(self, folder: Path) -> StageCard | None:
        """The card of this very stage in a folder, its files checked; what is broken is set aside."""
        try:
            card = read_card(folder)
            if card is None or card.fingerprint != self.fingerprint or card.name != self.name:
                raise ValueError(f"{folder / CARD}: is the card of another stage")
            verify(folder, card)
        except (ValueError, OSError) as error:
            self._set_broken_aside(folder, str(error))
            return None
        return card

    def _set_broken_aside(self, folder: Path, why: str) -> None:
        check_held(self.root)
        self.broken.append(f"{why}; kept as {files.set_aside(folder)}, and {self.name} is made again")


def read_rows(root: Path, card: StageCard, kind: type[Record]) -> list[Record]:
    """The records of a finished stage.

    Raises:
        ValueError: a file is missing or differs from what its stage wrote.
    """
    for folder, its in _parts(root, card):
        verify(folder, its)
    return list(stored_rows(root, card, kind))


def stored_rows(root: Path, card: StageCard, kind: type[Record]) -> Sequence[Record]:
    """The records of a finished stage, each read when it is asked for, and no file's hash checked.

    Raises:
        ValueError: a file is missing; while records are read: a line is no such record.
    """
    parts = [_own_rows(folder, its, kind) for folder, its in _parts(root, card)]
    return parts[0] if len(parts) == 1 else Joined(parts)


def own_rows(root: Path, card: StageCard, kind: type[Record]) -> Sequence[Record]:
    """The records of a finished stage that are not an earlier stage's, as `stored_rows`."""
    return _own_rows(root / STAGES / card.name, card, kind)


def _own_rows(folder: Path, card: StageCard, kind: type[Record]) -> Sequence[Record]:
    held = card.own_rows or (folder / ROWS).exists() or (folder / PACKED).exists()
    return StoredRows(folder / ROWS, kind) if held else []


def _parts(root: Path, card: StageCard) -> Iterator[tuple[Path, StageCard]]:
    """The folders and cards of the stages whose own records make up those of a stage, in order."""
    yield from _earlier_parts(root, card.name, card.earlier)
    yield root / STAGES / card.name, card


def _earlier_parts(root: Path, name: str, earlier: Iterable[Earlier]) -> Iterator[tuple[Path, StageCard]]:
    for each in earlier:
        folder = root / STAGES / each.name
        places = folder, _aside(root, each.name, each.fingerprint)
        found = [(place, card) for place in places if (card := read_card(place)) and each.is_that(card)]
        if not found:
            raise ValueError(f"{folder}: is missing or another stage's, but {name} needs its records")
        yield found[0]


def _aside(root: Path, name: str, fingerprint: str) -> Path:
    """Where a result that another recipe replaced is kept."""
    return root / SUPERSEDED / f"{name.replace('/', '--')}--{fingerprint[:8]}"


def verify(folder: Path, card: StageCard) -> None:
    """Check a stage's files against its card: their sizes and hashes, and the number of records.

    Raises:
        ValueError: one is missing or was changed.
    """
    for name, (size, digest) in card.files.items():
        path = folder / name
        if not path.exists():
            raise ValueError(f"{path}: is missing")
        if path.stat().st_size != size or (digest and _measure(path)[1] != digest):
            raise ValueError(f"{path}: is not what the stage wrote (changed or damaged)")
    check_rows(folder, card.own_rows)


def check_rows(folder: Path, rows: int) -> None:
    """Check how many records a stage's own file holds.

    Raises:
        ValueError: it is missing or damaged, or holds others.
    """
    found = len(lines_in(folder / ROWS))
    if found != rows:
        raise ValueError(f"{folder / ROWS}: holds {found:,} records, not {rows:,}")


def cards(root: Path) -> list[StageCard]:
    """The cards of all finished stages in place, in the order in which they were written.

    Raises:
        ValueError: one is damaged.
    """
    paths = sorted((root / STAGES).rglob(CARD), key=lambda path: (path.stat().st_mtime_ns, str(path)))
    unfinished = (PARTIAL, files.BROKEN)
    found: list[StageCard | None] = []
    for path in paths:
        if any(mark in path.relative_to(root).as_posix() for mark in unfinished):
            continue
        try:
            found.append(read_card(path.parent))
        except ValueError as error:
            raise ValueError(f"{error}; rerun the recipe into {root} to have the stage made again") from error
    return [card for card in found if card is not None]


def _files(folder: Path) -> Iterator[Path]:
    unsealed = (CARD, CARD + files.FRESH)  # the second where a try was killed while it wrote the first
    return (path for path in folder.rglob("*") if path.is_file() and path.name not in unsealed)


def _measure(path: Path) -> tuple[int, str]:
    with files.open_to_read(path) as file:
        size = os.fstat(file.fileno()).st_size
        return size, hashlib.file_digest(file, "sha256").hexdigest() if size <= LARGE else ""
