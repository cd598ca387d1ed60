"""From the lines of a stage's file to what the index takes; a line that is no record is counted and left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selfboost.live.indexed import Indexed, Scored, kind_of, read_record
from selfboost.live.record_tails import RecordFile, Tail
from selfboost.records import Rated


def read_batch(
    batch: Sequence[tuple[int, bytes]], found: RecordFile, tail: Tail
) -> list[tuple[int, Indexed | Scored | Rated]]:
    """The records of lines with their places; numbers of the others are kept in the tail."""
    kind = next((kind for _, line in batch if (kind := kind_of(line))), None)
    rows: list[tuple[int, Indexed | Scored | Rated]] = []
    for place, line in batch:
        row = kind and _record(line, kind, found, place)
        if row:
            rows.append((place, row))
        else:
            tail.faults.append(place + 1)
    return rows


def _record(line: bytes, kind: type[Any], found: RecordFile, place: int) -> Indexed | Scored | Rated | None:
    try:
        return read_record(line, kind, found.path, place + 1, f"{found.stage}:{place}")
    except ValueError:
        return None
