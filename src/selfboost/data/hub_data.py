"""Rows of a Hugging Face data set by its name, streamed: nothing is kept on disk, rows come in the data set's order.

A name is "owner/name" or "owner/name:split". Needs the library `datasets` (extra `hub`), imported when a data set is
read. Leaves out named configurations and revisions.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from selfboost.data.files import first_line

NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(:[\w.-]+)?")
FILE_ENDINGS = (".jsonl", ".json", ".gz", ".parquet", ".txt", ".csv", ".tsv", ".arrow", ".toml")
"""Endings of file names: a missing file is not looked up on the hub."""
DEFAULT_SPLIT = "train"
ASSUMED_ROWS = 10_000
"""Assumed rows of a data set that is not opened, when no setting says how many are used."""


def is_hub_name(text: str) -> bool:
    """Whether a text is the name of a data set: "owner/name" or "owner/name:split", and no file or folder here."""
    if not NAME.fullmatch(text) or text.lower().endswith(FILE_ENDINGS):
        return False
    return not Path(text).exists() and not Path(text.partition(":")[0]).exists()


def hub_rows(name: str, notes: list[str] | None = None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Stream (location, row) of a data set's split; a row is column → value.

    If the name leaves the split open, `notes` gets a sentence on the splits that are not read.

    Raises:
        ValueError: the library is missing, or the hub does not provide the data set, the split or a row.
    """
    dataset, _, split = name.partition(":")
    rows = _opened(dataset, split or DEFAULT_SPLIT)
    if notes is not None and not split:
        notes += _other_splits(dataset)
    number = 0
    try:
        for number, row in enumerate(rows, start=1):
            yield f"{name} row {number}", row
    except Exception as error:  # each file format raises its own errors while streaming
        raise ValueError(f"{name}: cannot be read after row {number} ({first_line(error)})") from error


def _opened(dataset: str, split: str) -> Iterable[Mapping[str, Any]]:
    try:
        library = cast(Any, importlib.import_module("datasets"))
    except Exception as error:  # a damaged installation fails in any way
        raise ValueError(
            f"{dataset} is not a local file or folder, and reading it from the hub needs the library datasets, "
            f"which cannot be imported ({first_line(error)}); install it with: pip install 'selfboost[hub]'"
        ) from error
    try:
        return cast("Iterable[Mapping[str, Any]]", library.load_dataset(dataset, split=split, streaming=True))
    except Exception as error:  # a connection, a name, a split, a format: each raises its own type
        raise ValueError(
            f"{dataset}, split {split!r}, is neither a local file or folder nor a data set on the hub: "
            f"{first_line(error)}"
        ) from error


def _other_splits(dataset: str) -> list[str]:
    """A sentence on the splits besides the default one, or on their being unknown."""
    read = f"only the split {DEFAULT_SPLIT!r} is read"
    try:
        names = cast("list[str]", cast(Any, importlib.import_module("datasets")).get_dataset_split_names(dataset))
    except Exception as error:  # as when opening
        return [f"{read}; others are not known here ({first_line(error)})"]
    others = [name for name in names if name != DEFAULT_SPLIT]
    return [f"{read}, not {', '.join(others)}; name another as {dataset}:SPLIT"] if others else []
