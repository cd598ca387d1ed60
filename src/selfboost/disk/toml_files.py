"""TOML files that people write: recipes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

LARGEST_FILE = 10_000_000
"""Most bytes of a recipe."""


def read_toml(path: Path) -> dict[str, Any]:
    """A recipe's file as a table, unchecked.

    Raises:
        ValueError: it is too large, or not TOML.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{path}: is larger than {LARGEST_FILE:,} bytes, which no recipe is")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors start a file with a byte order mark
    except RecursionError as error:
        raise ValueError(f"{path}: is nested too deep for a recipe") from error
    except ValueError as error:  # not TOML, not UTF-8, or a number of thousands of digits
        raise ValueError(f"{path}: is not valid TOML ({error})") from error
