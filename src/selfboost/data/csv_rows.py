"""Rows of CSV and TSV texts: the first line names the columns, cells in double quotes may span lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping

DELIMITERS = (",", ";", "\t", "|")
"""What may separate cells; the one that finds the most columns in the first line does."""
LONGEST_CELL = 1 << 26
"""Most characters of a cell."""
BEGINNING = 100_000
"""Characters in which the first line is looked for."""
NEVER_CLOSED = "unexpected end of data"
"""The library's words for a quote without an end."""


def csv_rows(text: str, where: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """(location, row) of a CSV or TSV text; a row without any text is skipped, as a blank line is.

    Raises:
        ValueError: names the line, and what is wrong with it.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    lines = _lines(text, where, max(DELIMITERS, key=lambda each: _width(text[:BEGINNING], each)))
    names: list[str] = []
    for number, cells in lines:
        place = f"{where} line {number}"
        if not names:
            names = _names(cells, place)
            continue
        if any(cell.strip() for cell in cells[len(names) :]) or len(cells) < len(names):
            raise ValueError(
                f"{place}: has {len(cells)} cells, but the first line names {len(names)} columns; put double quotes "
                "around cells that hold a separator"
            )
        yield place, dict(zip(names, cells, strict=False))


def _lines(text: str, where: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, cells) of each row with any text."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            wrong = "a double quote is opened and never closed" if str(error) == NEVER_CLOSED else str(error)
            raise ValueError(
                f"{where} line {first}: is not valid CSV ({wrong}); write a quote inside a quoted cell twice"
            ) from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield first, cells


def _width(text: str, delimiter: str) -> int:
    """How many columns a delimiter finds in the first line."""
    try:
        return next((len(cells) for _, cells in _lines(text, "", delimiter)), 0)
    except ValueError:
        return 0


def _names(cells: list[str], where: str) -> list[str]:
    """The columns' names; a column without one is called by its number."""
    names = [cell.strip() or f"column {number}" for number, cell in enumerate(cells, start=1)]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ValueError(f"{where}: names the column {twice!r:.80} twice")
    return names
