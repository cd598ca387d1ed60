"""Rows as a data frame of pandas, where that is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selfboost.extras import require


def frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A `pandas.DataFrame` with a column for each key.

    Raises:
        ValueError: pandas is not installed; says how to install it.
    """
    return require("pandas", extra="pandas", setting="to_pandas()").DataFrame.from_records([dict(row) for row in rows])
