"""Rows of a seed's file, folder or hub data set, each with its place: JSON, CSV (gzip too), Parquet, save_to_disk.

What a row's columns mean is not known here. Everything that cannot be read raises one sentence with its file and line.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from selfboost.data.arrow_rows import arrow_rows, parquet_rows
from selfboost.data.csv_rows import csv_rows
from selfboost.data.files import first_line, parsed, text_in
from selfboost.data.folders import ARROW, files_to_read, rows_by_file
from selfboost.data.hub_data import hub_rows, is_hub_name

JSON = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
PARQUET = ".parquet"
SUFFIXES = (*JSON, *CSV, PARQUET)
NAMED = 30
"""Most columns that a sentence names."""
LONGEST_NAME = 60
"""Most characters of a column's name in a sentence."""


def rows_of(
    source: str | Path, notes: list[str] | None = None, *, every_split: bool = False
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(location, row) of a file, of the files of a folder, or of a hub data set.

    Once all are read, `notes` has sentences on the files or splits that were read and left out. Of several splits only
    `train` is read, unless all files are wanted.

    Raises:
        ValueError: says which file or line cannot be read.
    """
    said: list[str] = []
    if isinstance(source, str) and not source.strip():  # it would be the working directory, with every file in it
        raise ValueError("the seed's path is empty; give a file, a folder ('.' for this one) or a hub data set")
    if isinstance(source, str) and is_hub_name(source):
        yield from hub_rows(source, said)
    else:
        yield from _rows_here(Path(source).expanduser(), said, every_split)
    if notes is not None:
        notes += [f"{source}: {sentence}" for sentence in said]


def columns_in_words(row: Mapping[str, Any]) -> str:
    """The columns that a row has, for a sentence."""
    names = [str(name)[:LONGEST_NAME] for name in row]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (", ".join(names[:NAMED]) or "none") + more


def _rows_here(path: Path, said: list[str], every_split: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    files, left = files_to_read(path, SUFFIXES, every_split=every_split) if path.is_dir() else ([path], [])
    counts = Counter[str]()
    for file in files:
        if not file.exists():
            raise ValueError(f"{file}: no such file or folder")
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        counts[name] = 0
        for where, row in _rows_in(file):
            if not isinstance(row, Mapping):
                raise ValueError(f"{where}: must be an object of columns and their values, not {type(row).__name__}")
            counts[name] += 1
            yield where, cast(Mapping[str, Any], row)
    said += [*rows_by_file(counts), *left]


def _rows_in(file: Path) -> Iterator[tuple[str, Any]]:
    if file.name.endswith(CSV):
        return csv_rows(text_in(file), str(file))
    if file.name.endswith(JSON):
        return _json_rows(file)
    if file.name.endswith((PARQUET, ARROW)):
        return (parquet_rows if file.name.endswith(PARQUET) else arrow_rows)(file)
    raise ValueError(f"{file}: allowed endings of a seed file are {', '.join(SUFFIXES)}")


def _json_rows(file: Path) -> Iterator[tuple[str, Any]]:
    text = text_in(file)
    if text.lstrip().startswith("["):
        rows = _parse(text, str(file))
        yield from ((f"{file} row {number}", row) for number, row in enumerate(rows, start=1))
        return
    _refuse_one_object(text, file)
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{file} line {number}"
            yield where, _parse(line, where)


def _refuse_one_object(text: str, file: Path) -> None:
    """Refuse an object over several lines, which holds its rows deeper, if at all."""
    first, _, rest = text.lstrip().partition("\n")
    if first.strip() != "{" or not rest:
        return
    try:
        whole = parsed(text)
    except (ValueError, RecursionError):
        return  # its first line is refused with its place
    held = [f"[{key!r:.60}]" for key, value in whole.items() if isinstance(value, list)]
    raise ValueError(
        f"{file}: is one JSON object with the keys {columns_in_words(whole)}; write its rows as an array, or one a "
        f"line{f' (they may be those in {held[0]})' if held else ''}"
    )


def _parse(text: str, where: str) -> Any:
    try:
        return parsed(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, " if "\n" in text else ""
        raise ValueError(f"{where}: is not valid JSON ({error.msg}, {place}column {error.colno})") from error
    except (ValueError, RecursionError) as error:  # a number with too many digits, or nesting too deep
        raise ValueError(f"{where}: cannot be read as JSON ({first_line(error)})") from error
