"""Writes a starter component and a recipe that runs it: the files of `starters/`, renamed."""

from __future__ import annotations

import builtins
import keyword
import re
import sys
from importlib.machinery import PathFinder
from importlib.resources import files
from pathlib import Path


def write_new_component(role: str, name: str, folder: Path) -> tuple[Path, Path]:
    """Write `folder/name.py` and `folder/name.toml`; existing files are never overwritten.

    Raises:
        ValueError: the name is not valid, is taken, or the files exist; in one sentence.
    """
    code, recipe = (_starter(f"{role}.{ending}") for ending in ("py", "toml"))
    cls = _class_name(name)
    _check_name(name, cls, code)
    paths = folder / f"{name}.py", folder / f"{name}.toml"
    for path in paths:
        if path.exists():
            raise ValueError(f"{path}: already exists; choose another name, or another folder with --to")
    _check_not_taken(name, folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in zip(paths, (code, recipe), strict=True):
        path.write_text(re.sub(r"\bstarter\b", name, re.sub(r"\bStarter\b", cls, text)), encoding="utf-8")
    return paths


def _starter(file: str) -> str:
    return (files("selfboost") / "starters" / file).read_text(encoding="utf-8")


def _class_name(name: str) -> str:
    """`my_method` → `MyMethod`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _check_name(name: str, cls: str, code: str) -> None:
    """Whether file and class can be called so."""
    if not (name.isidentifier() and name.isascii() and cls.isidentifier()):
        raise ValueError(
            f"{name!r}: not a valid module name; use letters, digits and underscores, starting with a letter"
        )
    if keyword.iskeyword(name) or keyword.iskeyword(cls):
        raise ValueError(f"{name!r}: a Python keyword; choose another name, such as my_{name.lower()}")
    if cls in vars(builtins) or re.search(rf"\b{cls}\b", code):
        raise ValueError(
            f"{name!r}: its class {cls} would shadow a name used in the file; choose another, such as my_{name}"
        )


def _check_not_taken(name: str, folder: Path) -> None:
    """Whether Python would find the file, and not a module that is installed or lies where the user works."""
    found = PathFinder.find_spec(name, [*sys.path, str(Path.cwd()), str(folder)])
    if name in sys.stdlib_module_names or (found is not None and found.origin is not None):
        place = found.origin if found is not None else "Python itself"
        raise ValueError(f"{name!r}: already the name of a module ({place}); choose another, such as my_{name}")
