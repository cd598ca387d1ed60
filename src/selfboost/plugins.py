"""Finds components by folder: `kind = "synpo"` is the class `SynPO` of methods/synpo.py. No registry, no list.

A file is a component when it defines a class of its own name (case and underscores aside); others are helpers.
A kind with a dot or colon (`mypackage.mine:Mine`) loads a third-party class. Listing reads source, it imports nothing.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path

FOLDERS: Mapping[str, str] = {
    "method": "methods",
    "loss": "losses",
    "engine": "engines",
    "trainer": "train",
    "scorer": "scorers",
    "benchmark": "benchmarks",
}
"""What a recipe calls a component → the folder its files live in."""


def _folder(role: str) -> Path:
    return Path(__file__).parent / FOLDERS[role]


def _component_class(file: Path) -> ast.ClassDef | None:
    wanted = file.stem.replace("_", "")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name.lower() == wanted:
            return node
    return None


def kinds(role: str) -> dict[str, str]:
    """Every shipped kind of a role → the first line of its class's docstring."""
    found: dict[str, str] = {}
    for file in sorted(_folder(role).glob("*.py")):
        node = _component_class(file)
        if node is not None:
            found[file.stem] = (ast.get_docstring(node) or "").partition("\n")[0]
    return found


def load(role: str, kind: str, where: str = "") -> type:
    """The class of a kind; `where` the recipe names it, if not in the role's own section.

    Raises:
        ValueError: no such kind; says what is allowed.
    """
    if ":" in kind or "." in kind:
        return _load_dotted(role, kind)
    allowed = kinds(role)
    if kind not in allowed:
        near = difflib.get_close_matches(kind, allowed, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        named = f"{where or role}.kind = {kind!r}: no such {role}{hint}"
        raise ValueError(f"{named}; allowed: {', '.join(allowed)}, or 'package.module:Class'")
    module = importlib.import_module(f"selfboost.{FOLDERS[role]}.{kind}")
    wanted = kind.replace("_", "")
    return next(value for name, value in vars(module).items() if name.lower() == wanted and isinstance(value, type))


def _load_dotted(role: str, kind: str) -> type:
    module_name, colon, class_name = kind.partition(":")
    if not colon:
        module_name, _, class_name = kind.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # a user's module can fail in any way when it is imported
        raise ValueError(f"{role}.kind = {kind!r}: cannot be loaded ({error}); write 'package.module:Class'") from error
    if not isinstance(found, type) or not is_dataclass(found):
        raise ValueError(f"{role}.kind = {kind!r}: is not a dataclass, as every component is")
    return found
