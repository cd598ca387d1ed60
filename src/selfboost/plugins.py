"""Finds components by folder: `kind = "synpo"` is the class `SynPO` of methods/synpo.py. No registry, no list.

A file is a component when it defines a class of its own name (case and underscores aside) that has its role's
function, its own or inherited; every other file is a helper. A kind with a dot or colon (`mypackage.mine:Mine`) loads a
third-party class, of a module that is trusted. Listing reads source; it imports nothing.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import cast

from selfboost.suggestions import did_you_mean, shown
from selfboost.trust import LISTED, PACKAGE, Trust, module_of

FOLDERS: Mapping[str, str] = {
    "method": "methods",
    "loss": "losses",
    "engine": "engines",
    "trainer": "train",
    "scorer": "scorers",
    "benchmark": "benchmarks",
    "cluster": "cluster",
}
"""Role, as recipes call it → the folder of its components."""
DOES: Mapping[str, str] = {
    "method": "iterate",
    "loss": "losses",
    "engine": "open",
    "trainer": "prefer",
    "scorer": "score",
    "benchmark": "rate",
    "cluster": "start",
}
"""Role, as recipes call it → the function that makes a class a component."""
ASKED: Mapping[str, tuple[str, ...]] = {
    "method": ("check", "once", "reads", "remarks", "suggested", "fitted", "scored"),
    "loss": ("rewards", "needs_reference", "head"),
    "engine": ("tokenizer", "fingerprint", "block_size"),
    "trainer": ("finetune", "logps", "rewards"),
    "scorer": ("needs", "threshold"),
    "benchmark": (),  # its `measures` are checked by the recipe
    "cluster": (),
}
"""Role → what else its components define; `selfboost.Method` has all of a method's."""


def kinds(role: str) -> dict[str, str]:
    """Every shipped kind of a role → the first line of its class's docstring."""
    found: dict[str, str] = {}
    for file in sorted((Path(__file__).parent / FOLDERS[role]).glob("*.py")):
        for node in _classes(file).values():
            if _is_named_after(node.name, file.stem) and _defines(file, node, DOES[role]):
                found[file.stem] = (ast.get_docstring(node) or "").partition("\n")[0]
    return found


def load(role: str, kind: str, where: str = "", trust: Trust = LISTED) -> type:
    """The class of a kind; `where` is the setting that names it, if not in the role's own section.

    Raises:
        ValueError: no such kind, or its module is not trusted; says what is allowed.
    """
    if ":" in kind or "." in kind:
        trust.require(f"{where or role}.kind", kind)
        return _load_dotted(role, kind, where or role)
    allowed = kinds(role)
    if kind not in allowed:
        named = f"{where or role}.kind = {shown(kind)}: no such {role}{did_you_mean(kind, allowed)}"
        raise ValueError(f"{named}; allowed: {', '.join(allowed)}, or 'package.module:Class'")
    module = importlib.import_module(f"{PACKAGE}.{FOLDERS[role]}.{kind}")
    own = (value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__)
    return next(cls for cls in own if is_shipped(cls))


def is_shipped(cls: type) -> bool:
    """Whether a class is one of the components that come with selfboost."""
    package, _, file = cls.__module__.rpartition(".")
    role = next((role for role, folder in FOLDERS.items() if package == f"{PACKAGE}.{folder}"), None)
    return role is not None and _is_named_after(cls.__name__, file) and _does(cls, role)


def objection(role: str, cls: type) -> str:
    """Why a class cannot be used as a component of this role; empty if it can."""
    if not is_dataclass(cls):
        return "is not a dataclass; every component must be one"
    if not _does(cls, role):
        return f"is not {_a(role)}; it must define {DOES[role]}()"
    settings = {f.name for f in fields(cls)}
    missing = [name for name in ASKED[role] if not hasattr(cls, name) and name not in settings]
    if missing:
        base = "; derive it from selfboost.Method" if role == "method" else ""
        return f"is not {_a(role)}; it must also define {', '.join(missing)}{base}"
    return f"is abstract; it must define {', '.join(sorted(abstract))}" if (abstract := _abstract(cls)) else ""


def _a(role: str) -> str:
    return f"{'an' if role == 'engine' else 'a'} {role}"


def _abstract(cls: type) -> frozenset[str]:
    return getattr(cls, "__abstractmethods__", frozenset[str]())


def _load_dotted(role: str, kind: str, where: str) -> type:
    setting, module = f"{where}.kind = {kind!r}", module_of(kind)
    try:
        found = getattr(importlib.import_module(module), kind[len(module) + 1 :])
    except (Exception, SystemExit) as error:  # importing a user's module can fail in any way
        raise ValueError(f"{setting}: cannot be loaded ({error}); write 'package.module:Class'") from error
    wrong = objection(role, found) if isinstance(found, type) else "is not a class; write 'package.module:Class'"
    if wrong:
        raise ValueError(f"{setting}: {wrong}")
    return cast(type, found)


def _does(cls: type, role: str) -> bool:
    function = getattr(cls, DOES[role], None)
    return callable(function) and not getattr(function, "__isabstractmethod__", False)


def _is_named_after(name: str, file: str) -> bool:
    return name.lower() == file.replace("_", "")


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _classes(file: Path) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in _tree(file).body if isinstance(node, ast.ClassDef)}


def _defines(file: Path, node: ast.ClassDef, function: str) -> bool:
    """Whether a class, or one of its bases in this package, defines a function that is not abstract."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == function:
            return not any(isinstance(mark, ast.Name) and mark.id == "abstractmethod" for mark in item.decorator_list)
    for base in (base.id for base in node.bases if isinstance(base, ast.Name)):
        home = file if base in _classes(file) else _home(file, base)
        if home is not None and base in _classes(home) and _defines(home, _classes(home)[base], function):
            return True
    return False


def _home(file: Path, name: str) -> Path | None:
    """The file of this package that a name is imported from."""
    for node in _tree(file).body:
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            package, *parts = (node.module or "").split(".")
            found = Path(__file__).parent.joinpath(*parts)
            found = found / "__init__.py" if found.is_dir() else found.with_suffix(".py")
            return found if package == PACKAGE and found.is_file() else None
    return None
