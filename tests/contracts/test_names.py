"""One name, one meaning: no two public classes share a name, and what a function raises stands in its docstring."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import selfboost

SOURCE = Path(selfboost.__file__).parent
FILES = sorted(path for path in SOURCE.rglob("*.py") if "starters" not in path.parts)
SHARED = {"Fake", "Local", "Footprint", "WithFootprint", "Looking"}
"""Kinds of two roles (`fake`, `local`), and what engines, trainers and scorers declare alike."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_no_two_public_classes_share_a_name() -> None:
    places = defaultdict[str, list[str]](list)
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(SOURCE)))
    assert {name: files for name, files in places.items() if len(files) > 1 and name not in SHARED} == {}


def public(body: list[ast.stmt], of: str = "") -> Iterator[tuple[str, Function]]:
    """Functions of a module and methods of its public classes that do not begin with an underscore."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node.body, f"{node.name}.")
        elif isinstance(node, Function) and not node.name.startswith("_"):
            yield f"{of}{node.name}", node


def raised(node: ast.AST) -> Iterator[str]:
    """Names of the errors that a function raises itself; those of functions inside it are theirs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call) and isinstance(child.exc.func, ast.Name):
            yield child.exc.func.id
        yield from raised(child)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_public_functions_say_what_they_raise(path: Path) -> None:
    silent = {
        name: sorted(errors - set((ast.get_docstring(node) or "").replace(":", " ").replace("`", " ").split()))
        for name, node in public(ast.parse(path.read_text()).body)
        if (errors := {error for error in raised(node) if error.endswith("Error")})
    }
    assert {name: errors for name, errors in silent.items() if errors} == {}
