"""JSON files, written atomically and for people to read; and their values by dotted name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from selfboost.disk import files


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically, readable for people."""
    files.write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        ValueError: the file is missing or damaged, in one sentence.
    """
    try:
        data = files.read_bytes(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is damaged ({error})") from error


def flat(parts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parts as dotted name → value."""
    found: dict[str, Any] = {}
    for key, value in parts.items():
        if isinstance(value, Mapping):
            found |= flat(cast(Mapping[str, Any], value), f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
