"""Records as Parquet files: one column for each field, written a thousand rows at a time.

pyarrow has no types: its schemas and types of columns pass as `Any`.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import pyarrow
import pyarrow.parquet as pq

from selfboost import store
from selfboost.records import Answer, Example, Pair, Rated, Verdict

pa = cast(Any, pyarrow)
ROWS = 1000
"""Rows of a group, and most that are in memory."""
KINDS: Mapping[str, type] = {"sample": Answer, "score": Verdict, "finetune": Example, "prefer": Pair, "measure": Rated}
"""Verb → what its stages' records are."""
PLAIN: Mapping[Any, Any] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]], schema: Any) -> int:
    """Write rows, each column → value, to a new file; how many there were."""
    count, waiting = 0, iter(rows)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(islice(waiting, ROWS)):
            writer.write_batch(pa.RecordBatch.from_pylist(group, schema=schema))
            count += len(group)
    return count


def write_stages(root: Path, into: Path) -> int:
    """Write the records of every finished stage to `STAGE.parquet`, its folders kept; how many stages there were.

    Raises:
        ValueError: a stage's file is missing, or a line of it is no record.
    """
    cards = [card for card in store.cards(root) if card.verb in KINDS]
    for card in cards:
        kind = KINDS[card.verb]
        path = into / f"{card.name}.parquet"
        if ".." in path.parts:
            raise ValueError(f"{root}: has a stage named {card.name!r}, which no run writes")
        path.parent.mkdir(parents=True, exist_ok=True)
        records: Iterable[Any] = store.stored_rows(root, card, cast("type[Any]", kind))
        write_parquet(path, map(row_of, records), schema_of(kind))
    return len(cards)


def row_of(record: Any) -> dict[str, Any]:
    """A record as a row; what maps names to values becomes a list of both."""
    row = {"id": record.id, **asdict(record)} if hasattr(record, "id") else asdict(record)
    return {
        name: list(cast("Mapping[str, Any]", value).items()) if name == "values" else value
        for name, value in row.items()
    }


def schema_of(kind: type) -> Any:
    """The columns of a kind of record: its id, where it has one, and its fields."""
    identity: list[Any] = [pa.field("id", pa.string())] if hasattr(kind, "id") else []
    return pa.schema([*identity, *_fields(kind)])


def _fields(kind: type) -> list[Any]:
    hints = get_type_hints(kind)
    return [pa.field(f.name, _type(hints[f.name])) for f in fields(cast(Any, kind))]


def _type(hint: Any) -> Any:
    """The Arrow type of a field's type."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if is_dataclass(hint):
        return pa.struct(_fields(cast(type, hint)))
    if origin is Literal:
        return PLAIN[str]
    if origin in (Union, types.UnionType):
        return _type(next(each for each in inner if each is not type(None)))
    if origin is tuple:
        return pa.list_(_type(inner[0]))
    assert origin is Mapping, f"no column holds {hint}"
    return pa.map_(_type(inner[0]), _type(inner[1]))
