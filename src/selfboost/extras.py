"""Optional libraries: imported when a setting asks for one, never before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any


def require(module: str, *, extra: str, setting: str, library: str = "") -> Any:
    """Import a module of an optional library (`library`: its name, where that differs from the module's).

    Raises:
        ValueError: the library is not installed; the message says which setting needs it and how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{setting} needs {library or module}, which cannot be imported ({error}); install it with: "
            f"pip install 'selfboost[{extra}]'"
        ) from error


def frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A `pandas.DataFrame` with a column for each key.

    Raises:
        ValueError: pandas is not installed; says how to install it.
    """
    return require("pandas", extra="pandas", setting="to_pandas()").DataFrame.from_records([dict(row) for row in rows])
