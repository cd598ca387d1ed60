"""A recipe as text with the settings that it changes alone, in the order that matters to its reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from selfboost.recipe_text import toml_value

FIRST = ("run", "model", "seed", "method", "loss", "training", "scorer", "benchmark")
"""Sections in this order; the rest follows."""
WIDTH = 32
"""Column of comments."""


def short_text(table: Mapping[str, Any], reasons: Mapping[str, str], title: str) -> str:
    """TOML of nested tables, with a comment where a section or setting has a reason."""
    lines = [f"# {title}", "#", "# What is not here has its default: `selfboost init --full` writes everything out."]
    names = [*(name for name in FIRST if name in table), *(name for name in table if name not in FIRST)]
    for name in names:
        lines += _section(name, table[name], reasons)
    return "\n".join(lines) + "\n"


def _section(path: str, values: Mapping[str, Any], reasons: Mapping[str, str]) -> list[str]:
    lines = ["", _with(f"[{path}]", reasons.get(path, ""))]
    inner: list[str] = []
    for name, value in values.items():
        where = f"{path}.{name}"
        nested = _table(value)
        if any(_table(each) is not None for each in (nested or {}).values()):
            inner += _section(where, nested or {}, reasons)
        else:
            lines.append(_with(f"{name} = {_value(value)}", reasons.get(where, "")))
    return lines + inner


def _value(value: Any) -> str:
    if (table := _table(value)) is not None:
        return "{" + ", ".join(f"{name} = {_value(each)}" for name, each in table.items()) + "}"
    return toml_value(value)


def _table(value: Any) -> Mapping[str, Any] | None:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else None


def _with(text: str, comment: str) -> str:
    return f"{text.ljust(WIDTH - 1)} # {comment}" if comment else text
