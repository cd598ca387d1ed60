"""Reads paragraphs, as a stream: from a file or folder of plain text, JSON lines or Parquet, or a hub data set.

A paragraph is a part of a document between blank lines, in every format. A folder's files are read in path order,
subfolders included; hidden files and files with other endings are skipped. Left out: JSON arrays.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, cast

from selfboost.data.files import check_regular, check_utf8, first_line, lines_of, parsed
from selfboost.data.folders import refuse_saved

ENDINGS = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
BATCH = 1024
"""Rows of a Parquet file decoded at a time."""


def read_paragraphs(source: str | Path, column: str = "text", limit: int = 0) -> Iterator[str]:
    """Paragraphs of a file, of a folder, or of a hub data set by its name (owner/name or owner/name:split).

    Args:
        source: what to read; .json holds one object per line, as .jsonl does
        column: where rows have their text
        limit: most paragraphs to read; 0 = all

    Raises:
        ValueError: there is no such source, or a file, line or row is invalid; raised when it is reached.
    """
    assert limit >= 0
    paragraphs = (paragraph for lines in _documents(source, column) for paragraph in _parts(lines))
    return islice(paragraphs, limit or None)


def _parts(lines: Iterable[str]) -> Iterator[str]:
    for blank, part in groupby(lines, key=lambda line: not line.strip()):
        if not blank:
            yield "".join(part).strip()


def _documents(source: str | Path, column: str) -> Iterator[Iterable[str]]:
    """The lines of each document."""
    path = Path(source)
    if not path.exists():
        texts = (_text(row, column, where) for where, row in _rows_by_name(str(source)))
        yield from map(io.StringIO, texts)
        return
    for file in _files(path):
        if ".txt" in file.suffixes[-2:]:
            yield (line for _, line in _lines(file))
        else:
            rows = _parquet_rows(file, column) if file.suffix == ".parquet" else _json_rows(file)
            yield from (io.StringIO(_text(row, column, where)) for where, row in rows)


def _rows_by_name(name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    from selfboost.data.hub_data import hub_rows, is_hub_name

    if not is_hub_name(name):
        raise ValueError(f"{name}: no such file or folder, and not the name of a hub data set (owner/name)")
    return hub_rows(name)


def _files(path: Path) -> list[Path]:
    allowed = f"allowed endings: {', '.join(ENDINGS)}"
    if not path.is_dir():
        if not path.name.endswith(ENDINGS):
            raise ValueError(f"{path}: is not a file of paragraphs; {allowed}")
        return [path]
    refuse_saved(path)
    below = (file for file in path.rglob("*") if file.name.endswith(ENDINGS) and file.is_file())
    files = sorted(file for file in below if not any(part[0] == "." for part in file.relative_to(path).parts))
    if not files:
        raise ValueError(f"{path}: contains no file of paragraphs; {allowed}")
    return files


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """(location, line) of a text file."""
    where = str(file)
    try:
        for number, line in enumerate(lines_of(file), start=1):
            where = f"{file} line {number}"
            if number == 1:
                check_utf8(line, where)
            # Some editors put a byte order mark first.
            yield where, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: is not UTF-8 text") from error


def _json_rows(file: Path) -> Iterator[tuple[str, Any]]:
    for where, line in _lines(file):
        if line.strip():
            try:
                yield where, parsed(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{where}: is not valid JSON ({first_line(error)})") from error


def _parquet_rows(file: Path, column: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    texts = chain.from_iterable(_parquet_batches(file, column))
    return ((f"{file} row {number}", {column: text}) for number, text in enumerate(texts, start=1))


def _parquet_batches(file: Path, column: str) -> Iterator[list[Any]]:
    import pyarrow.parquet as pq

    check_regular(file)
    try:
        with cast(Any, pq).ParquetFile(file) as table:
            columns = table.schema_arrow.names
            if column in columns:
                yield from (batch.column(0).to_pylist() for batch in table.iter_batches(BATCH, columns=[column]))
                return
    except Exception as error:  # pyarrow raises errors of many types
        raise ValueError(f"{file}: cannot be read as Parquet ({first_line(error)})") from error
    raise ValueError(f"{file}: has no column {column}; allowed as paragraphs_column: {', '.join(columns) or 'none'}")


def _text(row: object, column: str, where: str) -> str:
    if not isinstance(row, Mapping):
        raise ValueError(f"{where}: must be an object with a text in the column {column}")
    row = cast(Mapping[str, Any], row)
    if column not in row:
        raise ValueError(f"{where}: has no column {column}; allowed as paragraphs_column: {', '.join(row) or 'none'}")
    if not isinstance(row[column], str):
        raise ValueError(f"{where}: the column {column} is {type(row[column]).__name__}, must be text")
    return row[column]
