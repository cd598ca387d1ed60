"""Files of records: one record per line, as JSON; read one by one, wherever they are asked for."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from selfboost.disk import files
from selfboost.disk.compressed_lines import ENDING, CompressedLines
from selfboost.disk.sequences import Joined, Lazy

Record = TypeVar("Record")


@cache
def adapter_of(kind: type[Any]) -> TypeAdapter[Any]:
    """What reads and writes this kind of record."""
    return TypeAdapter(kind)


def to_line(record: object) -> bytes:
    """One record as one line of JSON."""
    return adapter_of(type(record)).dump_json(record) + b"\n"


def lines_of(records: Iterable[object]) -> Iterator[bytes]:
    """Records as lines of JSON, one or many at a time; those of files as they are."""
    if isinstance(records, StoredRows):
        return records.blocks()
    if isinstance(records, Joined):
        return (line for part in records.parts for line in lines_of(part))
    return map(to_line, records)


def hash_records(records: Iterable[object]) -> str:
    """SHA-256 over records, in order: identifies a stage's inputs."""
    digest = hashlib.sha256()
    for line in lines_of(records):
        digest.update(line)
    return digest.hexdigest()


class PlainLines:
    """The lines of a file. Only their places are in memory."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError where it is no plain file."""
        self._path = path
        with files.open_to_read(path) as file:
            self._ends = array("Q", accumulate(map(len, file)))

    def __len__(self) -> int:
        return len(self._ends)

    def blocks(self) -> Iterator[bytes]:
        """All lines, many at a time."""
        with files.open_to_read(self._path) as file:
            yield from iter(lambda: file.read(files.BLOCK), b"")

    def lines(self, places: Sequence[int]) -> Iterator[bytes]:
        """The lines at these places."""
        with files.open_to_read(self._path) as file:
            here = 0
            for place in places:
                start = self._ends[place - 1] if place else 0
                if start != here:
                    file.seek(start)
                here = self._ends[place]
                yield file.read(here - start)


def lines_in(path: Path) -> PlainLines | CompressedLines:
    """The lines of the file at `path`, or of `NAME.gz` beside it.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: it is damaged, or no plain file.
    """
    packed = path.with_name(path.name + ENDING)
    return CompressedLines(packed) if packed.exists() and not path.exists() else PlainLines(path)


class StoredRows(Lazy[Record]):
    """The records of a file, compressed or not."""

    def __init__(self, path: Path, kind: type[Record]) -> None:
        """The file at `path`, or `NAME.gz` beside it. Raises ValueError where there is neither, or it is damaged."""
        self._path, self._kind = path, kind
        self._lines = lines_in(path)

    def __len__(self) -> int:
        return len(self._lines)

    def each(self, places: Sequence[int]) -> Iterator[Record]:
        """The records at these places, each read when it is asked for.

        Raises:
            ValueError: a line is no such record.
        """
        for place, line in zip(places, self._lines.lines(places), strict=True):
            yield parse_line(line, self._kind, self._path, place + 1)

    def blocks(self) -> Iterator[bytes]:
        """The lines of all records, many at a time."""
        return self._lines.blocks()


def write_rows(path: Path, records: Iterable[Record], kind: type[Record]) -> StoredRows[Record]:
    """Write a file of records that can be made again, and read them there; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    adapter = adapter_of(kind)
    fresh = path.with_name(path.name + files.FRESH)
    with files.open_new(fresh) as file:
        file.writelines(adapter.dump_json(record) + b"\n" for record in records)
    fresh.replace(path)
    return StoredRows(path, kind)


def parse_line(line: bytes, kind: type[Record], path: Path, number: int) -> Record:
    """The record of a line of a file.

    Raises:
        ValueError: it is no such record.
    """
    try:
        return cast(Record, adapter_of(kind).validate_json(line))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path} line {number}: is no {kind.__name__} ({where}: {first['msg']})") from error
