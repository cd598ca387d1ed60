"""Writes out a complete recipe: every setting, its value, and its field's docstring line as a comment."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from selfboost import plugins
from selfboost.recipe import ROLES, Recipe
from selfboost.records import content_hash
from selfboost.setting_types import decides


def kind_of(component: object) -> str:
    """The `kind` by which a recipe names this component."""
    cls = type(component)
    return cls.__module__.rpartition(".")[2] if plugins.is_shipped(cls) else f"{cls.__module__}:{cls.__qualname__}"


def known_by(component: Any) -> dict[str, Any]:
    """What a component's results depend on: its kind and its settings, except those that only affect speed,
    and later ones at their default."""
    values = {"kind": kind_of(component), **_deciding(component)}
    modules = [type(component).__module__, str(values.get("function", "")).partition(":")[0]]
    outside = [sys.modules[name] for name in modules if name in sys.modules and not name.startswith("selfboost.")]
    if outside:  # user code; ours is covered by the versions of the verbs
        values["code"] = content_hash([inspect.getsource(module) for module in outside])
    return values


def _deciding(settings: Any) -> dict[str, Any]:
    """The settings that results depend on; a nested component counts with its own kind and perhaps user code."""
    values = asdict(settings)
    for f in fields(settings):
        inner = getattr(settings, f.name)
        if not decides(f, inner):
            del values[f.name]
        elif is_dataclass(inner):
            values[f.name] = known_by(inner) if _is_component(inner) else _deciding(inner)
    return values


def _is_component(value: object) -> bool:
    cls = value.__class__
    return plugins.is_shipped(cls) or not cls.__module__.startswith("selfboost.")


def recipe_text(recipe: Recipe, title: str = "") -> str:
    """The recipe as TOML, complete and commented."""
    lines = [f"# {title}", ""] if title else []
    for f in fields(recipe):
        lines += [*_section(f.name, getattr(recipe, f.name), field_docs(Recipe).get(f.name, ""), _roles(Recipe)), ""]
    return "\n".join(lines).rstrip() + "\n"


def _roles(cls: type) -> set[str]:
    """Names of the settings that are components, and so have a kind."""
    return {name for name, hint in get_type_hints(cls, include_extras=True).items() if hint in ROLES}


def _section(name: str, value: Any, comment: str, roles: set[str]) -> list[str]:
    cls: type[Any] = value.__class__
    doc = (inspect.getdoc(cls) or "").partition("\n")[0]
    lines = [f"# {text}" for text in (comment, doc) if text] + [f"[{name}]"]
    if name.rpartition(".")[2] in roles:
        lines.append(f"kind = {json.dumps(kind_of(value))}")
    docs = field_docs(cls)
    inner: list[str] = []
    for f in fields(value):
        item = getattr(value, f.name)
        if is_dataclass(item):
            inner += ["", *_section(f"{name}.{f.name}", item, docs.get(f.name, ""), _roles(cls))]
        else:
            setting = f"{f.name} = {toml_value(item)}" if item is not None else f"# {f.name} ="  # TOML has no null
            lines += [*(f"# {text}" for text in [docs.get(f.name, "")] if text), setting]
    return lines + inner


def toml_value(value: Any) -> str:
    """One leaf value as TOML."""
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


@cache
def field_docs(cls: type) -> dict[str, str]:
    """Field name → the docstring line under it, inherited fields included."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__ == "builtins" or not is_dataclass(base):
            continue
        body = ast.parse(inspect.getsource(base).lstrip()).body[0]
        assert isinstance(body, ast.ClassDef)
        for node, after in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                docs[node.target.id] = " ".join(str(after.value.value).split())
    return docs
