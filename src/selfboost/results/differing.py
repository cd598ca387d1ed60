"""The settings of a run's recipe that differ from selfboost's defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, cast, get_type_hints

from selfboost import plugins
from selfboost.recipe import ROLES, Recipe


@dataclass(frozen=True)
class Differing:
    """A setting whose value is not its default."""

    name: str
    value: Any
    default: Any
    """As TOML reads it; None where there is none."""


def differing(recipe: Mapping[str, Any]) -> list[Differing]:
    """The settings of a recipe's table that have no default, or another value.

    Of a component that does not come with selfboost, all of them: its code is not imported.
    """
    return list(_differing(Recipe, recipe, "", None))


def _differing(kind: Any, table: Mapping[str, Any], where: str, base: Any) -> Iterator[Differing]:
    known = {f.name: f for f in fields(kind)} if kind is not None else {}
    hints = get_type_hints(kind, include_extras=True) if kind is not None else {}
    for name, value in table.items():
        default = _default(known.get(name), base)
        if isinstance(value, Mapping):
            inner = cast("Mapping[str, Any]", value)
            cls, role = hints.get(name), ROLES.get(hints.get(name, object))
            if role is not None:
                yield Differing(f"{where}{name}.kind", inner.get("kind", ""), None)
                cls = _shipped(role, inner.get("kind", ""))
                inner = {key: each for key, each in inner.items() if key != "kind"}
                default = default if default.__class__ is cls else None
            yield from _differing(cls if is_dataclass(cls) else None, inner, f"{where}{name}.", default)
        elif default is MISSING or _plain(default) != value:
            yield Differing(f"{where}{name}", value, None if default is MISSING else _plain(default))


def _default(known: Any, base: Any) -> Any:
    if known is None:
        return MISSING
    if base is not None and base is not MISSING:
        return getattr(base, known.name)
    return known.default if known.default_factory is MISSING else known.default_factory()


def _shipped(role: str, kind: object) -> type | None:
    return plugins.load(role, str(kind)) if kind in plugins.kinds(role) else None


def _plain(value: Any) -> Any:
    """A default as TOML reads it."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in cast("tuple[Any, ...]", value)]
    return str(value) if isinstance(value, Path) else value
