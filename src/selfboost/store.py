"""The run's folder: stages are written atomically, fingerprinted by their inputs, and never computed twice.

A stage grows in `NAME.partial-FINGERPRINT/` and is renamed to `NAME/` when it is complete; a kill at any moment leaves
one or the other. A result that another recipe replaces is moved to `superseded/`, and restored from there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

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


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, sees either the old content or the new."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, readable for people."""
    write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        ValueError: the file is missing or damaged, in one sentence.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except ValueError as error:
        raise ValueError(f"{path}: is damaged ({error})") from error


class Stage:
    """A stage of a run: open for writing in its partial folder, or finished."""

    def __init__(self, root: Path, name: str, verb: str, parts: Mapping[str, Any]) -> None:
        self.root, self.name, self.verb, self.parts = root, name, verb, parts
        self.fingerprint = content_hash(parts)
        self.folder = root / STAGES / name
        self.partial = self.folder.with_name(f"{self.folder.name}.partial-{self.fingerprint[:8]}")
        self._aside = root / SUPERSEDED / name.replace("/", "--")

    def card(self) -> StageCard | None:
        """The card of the finished stage with exactly this fingerprint, or None."""
        if (self.partial / CARD).exists():  # killed between the last write and the rename
            self._put_in_place()
        kept = self._aside.with_name(f"{self._aside.name}--{self.fingerprint[:8]}")
        current = self._current()
        if (current is None or current.fingerprint != self.fingerprint) and (kept / CARD).exists():
            self._set_current_aside()
            kept.rename(self.folder)
            current = self._current()
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
        self.partial.mkdir(parents=True, exist_ok=True)
        return self.partial

    def rows_so_far(self, kind: type[Record]) -> list[Record]:
        """Records already written by a killed attempt; an incomplete last line is cut off the file."""
        path = self.begin() / ROWS
        if not path.exists():
            return []
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(path, len(whole))
        return list(_parse(whole.splitlines(), kind, path))

    def append(self, records: Iterable[object]) -> None:
        """Add records to the partial file; they survive a kill once this returns."""
        with (self.begin() / ROWS).open("ab") as file:
            file.write(b"".join(to_line(record) for record in records))
            file.flush()
            os.fsync(file.fileno())

    def finish(self, *, rows: int, tokens: int, seconds: float, result: str, notes: Mapping[str, Any]) -> StageCard:
        """Seal the stage: card written last, then one rename."""
        (self.begin() / ROWS).touch()
        card = StageCard(
            name=self.name,
            verb=self.verb,
            fingerprint=self.fingerprint,
            parts=self.parts,
            rows=rows,
            tokens=tokens,
            seconds=round(seconds, 3),
            file=f"{STAGES}/{self.name}/{result}".rstrip("/"),
            notes=notes,
            files={str(p.relative_to(self.partial)): _measure(p) for p in sorted(_files(self.partial))},
        )
        write_json(self.partial / CARD, asdict(card))
        self._put_in_place()
        return card

    def _put_in_place(self) -> None:
        self._set_current_aside()
        self.partial.rename(self.folder)

    def _set_current_aside(self) -> None:
        current = self._current()
        if current is not None:
            aside = self._aside.with_name(f"{self._aside.name}--{current.fingerprint[:8]}")
            aside.parent.mkdir(exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            self.folder.rename(aside)

    def _current(self) -> StageCard | None:
        """The card of the result in this stage's place."""
        current = read_card(self.folder)
        if current is None and self.folder.exists():
            raise ValueError(f"{self.folder}: holds no {CARD}, so it is not a stage; move it away")
        return current


def read_card(folder: Path) -> StageCard | None:
    """The card of a finished stage, or None if the folder holds none.

    Raises:
        ValueError: the card is damaged.
    """
    path = folder / CARD
    if not path.exists():
        return None
    way_on = f"move {folder} away to have the stage computed again"
    try:
        return _adapter(StageCard).validate_python(read_json(path))
    except ValidationError as error:
        raise ValueError(f"{path}: is damaged ({error.error_count()} wrong fields); {way_on}") from error
    except ValueError as error:
        raise ValueError(f"{error}; {way_on}") from error


def read_rows(root: Path, card: StageCard, kind: type[Record]) -> list[Record]:
    """The records of a finished stage.

    Raises:
        ValueError: the file is missing or differs from what the stage wrote.
    """
    path = root / STAGES / card.name / ROWS
    verify(root, card)
    return list(_parse(path.read_bytes().splitlines(), kind, path))


def verify(root: Path, card: StageCard) -> None:
    """Check a stage's files against its card.

    Raises:
        ValueError: one is missing or was changed; says how to continue.
    """
    for name, (size, digest) in card.files.items():
        path = root / STAGES / card.name / name
        problem = ""
        if not path.exists():
            problem = "is missing"
        elif path.stat().st_size != size or (digest and _measure(path)[1] != digest):
            problem = "is not what the stage wrote (changed or damaged)"
        if problem:
            raise ValueError(
                f"{path}: {problem}; put it back, or move {path.parent} away to have the stage computed again"
            )


def cards(root: Path) -> list[StageCard]:
    """The cards of all finished stages in place, in the order in which they were written."""
    paths = sorted((root / STAGES).rglob(CARD), key=lambda path: (path.stat().st_mtime_ns, str(path)))
    found = (read_card(path.parent) for path in paths if ".partial-" not in str(path.relative_to(root)))
    return [card for card in found if card is not None]


@contextmanager
def lock(root: Path) -> Generator[None, None, None]:
    """Hold the run's folder for one writer. The kernel frees the lock of a process that died.

    Raises:
        ValueError: another process is writing this run; says which.
    """
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root}: is a file; a run needs a folder (--into)")
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise ValueError(
                f"{root}: another run is writing this folder ({file.read().strip() or 'unknown owner'}); "
                "wait for it, stop it, or choose another folder with --into"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        file.flush()
        yield


def _parse(lines: list[bytes], kind: type[Record], path: Path) -> Iterator[Record]:
    adapter = _adapter(kind)
    for number, line in enumerate(lines, start=1):
        try:
            yield adapter.validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{path} line {number}: is no {kind.__name__} ({where}: {first['msg']})") from error


def _files(folder: Path) -> Iterator[Path]:
    unsealed = (CARD, f"{CARD}.new")  # the second where a try was killed while it wrote the first
    return (path for path in folder.rglob("*") if path.is_file() and path.name not in unsealed)


def _measure(path: Path) -> tuple[int, str]:
    size = path.stat().st_size
    return size, hashlib.sha256(path.read_bytes()).hexdigest() if size <= LARGE else ""


def flat(parts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parts as dotted name → value."""
    found: dict[str, Any] = {}
    for key, value in parts.items():
        if isinstance(value, Mapping):
            found |= flat(cast(Mapping[str, Any], value), f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
