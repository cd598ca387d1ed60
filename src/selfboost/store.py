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
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from selfboost.disk import files
from selfboost.disk.locks import check_held
from selfboost.records import content_hash

Record = TypeVar("Record")

STAGES = "stages"
SUPERSEDED = "superseded"
ROWS = "records.jsonl"
CARD = "stage.json"
LARGE = 64 * 2**20
"""Files beyond this many bytes (weights) are verified by size alone, smaller ones by their hash."""


@dataclass(frozen=True, kw_only=True)
class StageCard:
    """A finished stage's description (its `stage.json`)."""

    name: str
    verb: str
    fingerprint: str
    parts: Mapping[str, Any]
    """Everything that determines the result: settings, hashes of the inputs, version of the code."""
    rows: int = 0
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


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_line(record: object) -> bytes:
    """One record as one line of JSON."""
    return _adapter(type(record)).dump_json(record) + b"\n"


def hash_records(records: Iterable[object]) -> str:
    """SHA-256 over records, in order: identifies a stage's inputs."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(to_line(record))
    return digest.hexdigest()


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, readable for people."""
    files.write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        ValueError: the file is missing or damaged, in one sentence.
    """
    try:
        data = files.read_bytes(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is damaged ({error})") from error


class Stage:
    """A stage of a run: open for writing in its partial folder, or finished."""

    def __init__(self, root: Path, name: str, verb: str, parts: Mapping[str, Any]) -> None:
        self.root, self.name, self.verb, self.parts = root, name, verb, parts
        self.fingerprint = content_hash(parts)
        self.folder = root / STAGES / name
        self.partial = self.folder.with_name(f"{self.folder.name}.partial-{self.fingerprint[:8]}")
        self._aside = root / SUPERSEDED / name.replace("/", "--")
        self.broken: list[str] = []
        """What was found broken, and where it was put, in sentences."""

    def card(self) -> StageCard | None:
        """The card of the finished stage with exactly this fingerprint, its files checked; None where there is none.

        What is broken is renamed (`broken` says so) and counts as missing.
        """
        if (self.partial / CARD).exists() and self._whole(self.partial):  # killed between the last write and the rename
            self._put_in_place()
        kept = self._aside.with_name(f"{self._aside.name}--{self.fingerprint[:8]}")
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

    def rows_so_far(self, kind: type[Record]) -> list[Record]:
        """Records already written by a killed attempt; an incomplete last line is cut off the file.

        Raises:
            ValueError: a line is no such record.
        """
        path = self.begin() / ROWS
        if not os.path.lexists(path):
            return []
        files.refuse_link(path)
        data = files.read_bytes(path)
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(path, len(whole))
        return list(_parse(whole.splitlines(), kind, path))

    def append(self, records: Iterable[object]) -> None:
        """Add records to the partial file; they survive a kill once this returns."""
        check_held(self.root)
        with files.open_to_add(self.begin() / ROWS) as file:
            file.write(b"".join(to_line(record) for record in records))
            file.flush()
            os.fsync(file.fileno())

    def finish(self, *, rows: int, tokens: int, seconds: float, result: str, notes: Mapping[str, Any]) -> StageCard:
        """Seal the stage: card written last, then one rename.

        Raises:
            LockLost: another run may be writing this folder.
            ValueError: the file does not hold as many records as the card would say.
        """
        self.append(())
        check_rows(self.partial / ROWS, rows)
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
                files={str(p.relative_to(self.partial)): _measure(p) for p in sorted(_files(self.partial))},
            )
        )
        write_json(self.partial / CARD, asdict(card))
        check_held(self.root)
        self._put_in_place()
        return card

    def _put_in_place(self) -> None:
        self._set_current_aside()
        self.partial.rename(self.folder)

    def _set_current_aside(self) -> None:
        current = self._current()
        if current is not None:
            aside = self._aside.with_name(f"{self._aside.name}--{current.fingerprint[:8]}")
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


def sealed(card: StageCard) -> StageCard:
    """The card with the hash of all the rest of it, as it is when it is read again."""
    read = _adapter(StageCard).validate_python(json.loads(json.dumps(asdict(replace(card, seal="")))))
    return replace(card, seal=content_hash(read))


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
        card = cast(StageCard, _adapter(StageCard).validate_python(found))
    except ValidationError as error:
        raise ValueError(f"{path}: is damaged ({error.error_count()} wrong fields)") from error
    if card.seal and sealed(card).seal != card.seal:
        raise ValueError(f"{path}: is damaged (it does not have the hash that it was sealed with)")
    return card


def read_rows(root: Path, card: StageCard, kind: type[Record]) -> list[Record]:
    """The records of a finished stage.

    Raises:
        ValueError: the file is missing or differs from what the stage wrote.
    """
    folder = root / STAGES / card.name
    verify(folder, card)
    return list(parse_rows(folder / ROWS, kind))


def parse_rows(path: Path, kind: type[Record]) -> Iterator[Record]:
    """The records of a file, one a line, each read when it is asked for.

    Raises:
        ValueError: a line is no such record.
    """
    with files.open_to_read(path) as file:
        yield from _parse(file, kind, path)


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
    check_rows(folder / ROWS, card.rows)


def check_rows(path: Path, rows: int) -> None:
    """Raise ValueError where a file does not hold this many records."""
    with files.open_to_read(path) as file:
        found = sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
    if found != rows:
        raise ValueError(f"{path}: holds {found:,} records, not {rows:,}")


def cards(root: Path) -> list[StageCard]:
    """The cards of all finished stages in place, in the order in which they were written.

    Raises:
        ValueError: one is damaged.
    """
    paths = sorted((root / STAGES).rglob(CARD), key=lambda path: (path.stat().st_mtime_ns, str(path)))
    unfinished = (".partial-", files.BROKEN)
    found: list[StageCard | None] = []
    for path in paths:
        if any(mark in str(path.relative_to(root)) for mark in unfinished):
            continue
        try:
            found.append(read_card(path.parent))
        except ValueError as error:
            raise ValueError(f"{error}; rerun the recipe into {root} to have the stage made again") from error
    return [card for card in found if card is not None]


def _parse(lines: Iterable[bytes], kind: type[Record], path: Path) -> Iterator[Record]:
    adapter = _adapter(kind)
    for number, line in enumerate(lines, start=1):
        try:
            yield adapter.validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{path} line {number}: is no {kind.__name__} ({where}: {first['msg']})") from error


def _files(folder: Path) -> Iterator[Path]:
    unsealed = (CARD, CARD + files.FRESH)  # the second where a try was killed while it wrote the first
    return (path for path in folder.rglob("*") if path.is_file() and path.name not in unsealed)


def _measure(path: Path) -> tuple[int, str]:
    with files.open_to_read(path) as file:
        size = os.fstat(file.fileno()).st_size
        return size, hashlib.file_digest(file, "sha256").hexdigest() if size <= LARGE else ""


def flat(parts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parts as dotted name → value."""
    found: dict[str, Any] = {}
    for key, value in parts.items():
        if isinstance(value, Mapping):
            found |= flat(cast(Mapping[str, Any], value), f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
