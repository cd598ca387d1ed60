"""Rows of Parquet files, and of the Arrow files in a folder that `datasets`' save_to_disk wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from selfboost.data.files import check_regular, first_line


def parquet_rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(location, row) of a Parquet file.

    Raises:
        ValueError: it cannot be read, or has a column twice.
    """
    import pyarrow.parquet as pq

    check_regular(file)
    try:
        table = cast(Any, pq).read_table(file)
        names = cast("list[str]", table.column_names)
    except Exception as error:  # pyarrow raises errors of many types
        raise ValueError(f"{file}: is not a Parquet file that can be read ({first_line(error)})") from error
    return _rows(table, names, file)


def arrow_rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(location, row) of an Arrow file in the streaming format.

    Raises:
        ValueError: it cannot be read, or has a column twice.
    """
    import pyarrow as pa

    check_regular(file)
    try:
        with cast(Any, pa).memory_map(str(file)) as opened:
            table = cast(Any, pa).ipc.open_stream(opened).read_all()
        names = cast("list[str]", table.column_names)
    except Exception as error:  # as above
        raise ValueError(f"{file}: is not an Arrow file that can be read ({first_line(error)})") from error
    return _rows(table, names, file)


def saved_files(folder: Path) -> list[Path]:
    """The Arrow files of a data set that save_to_disk wrote, in order.

    Raises:
        ValueError: its state.json does not name them.
    """
    state = folder / "state.json"
    check_regular(state)
    try:
        named = [Path(each["filename"]).name for each in json.loads(state.read_bytes())["_data_files"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{state}: does not name the data set's files; save the data set again") from error
    return [folder / name for name in named]


def _rows(table: Any, names: list[str], file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{file}: has the column {twice[0]} twice")
    columns = [_column(table.column(name), table.num_rows) for name in names]
    rows = zip(*columns, strict=True)
    return ((f"{file} row {number}", dict(zip(names, row, strict=True))) for number, row in enumerate(rows, start=1))


class UnreadableColumn:
    """The values of a column that Python cannot hold, such as a time in nanoseconds: fine where it is not used."""


def _column(column: Any, rows: int) -> list[Any]:
    try:
        return cast("list[Any]", column.to_pylist())
    except Exception:  # times and decimals each fail in their own way
        return [UnreadableColumn()] * rows
