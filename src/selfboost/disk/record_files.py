"""Files of records: one record per line, as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from selfboost.disk import files

Record = TypeVar("Record")


@cache
def adapter_of(kind: type[Any]) -> TypeAdapter[Any]:
    """What reads and writes this kind of record."""
    return TypeAdapter(kind)


def to_line(record: object) -> bytes:
    """One record as one line of JSON."""
    return adapter_of(type(record)).dump_json(record) + b"\n"


def hash_records(records: Iterable[object]) -> str:
    """SHA-256 over records, in order: identifies a stage's inputs."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(to_line(record))
    return digest.hexdigest()


def parse_rows(path: Path, kind: type[Record]) -> Iterator[Record]:
    """The records of a file, each read when it is asked for.

    Raises:
        ValueError: a line is no such record.
    """
    with files.open_to_read(path) as file:
        yield from parse_lines(file, kind, path)


def parse_lines(lines: Iterable[bytes], kind: type[Record], path: Path) -> Iterator[Record]:
    """The records of lines, which are those of a file.

    Raises:
        ValueError: a line is no such record.
    """
    adapter = adapter_of(kind)
    for number, line in enumerate(lines, start=1):
        try:
            yield adapter.validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{path} line {number}: is no {kind.__name__} ({where}: {first['msg']})") from error


def check_rows(path: Path, rows: int) -> None:
    """Raise ValueError where a file does not hold this many records."""
    with files.open_to_read(path) as file:
        found = sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
    if found != rows:
        raise ValueError(f"{path}: holds {found:,} records, not {rows:,}")
