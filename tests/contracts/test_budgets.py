"""Size budgets: a function 40 lines, nine functions in ten 20, a file of the source 400. Split by idea, not by count.

Functions of tests, benchmarks and tools keep to them too; a file of tests may be as long as its subject.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "selfboost"
FILES = sorted(SOURCE.rglob("*.py"))
PARTS = {
    "src": FILES,
    "tests": sorted((ROOT / "tests").rglob("*.py")),
    "benchmarks": sorted((ROOT / "benchmarks").rglob("*.py")),
    "tools": sorted((ROOT / "tools").rglob("*.py")),
}


def functions(files: list[Path]) -> dict[str, int]:
    """Name → lines, of every function and method."""
    lengths = {}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                lengths[name] = (node.end_lineno or node.lineno) - node.lineno + 1
    return lengths


def test_files_are_at_most_400_lines() -> None:
    lengths = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


@pytest.mark.parametrize("part", PARTS)
def test_functions_are_at_most_40_lines(part: str) -> None:
    assert {name: n for name, n in functions(PARTS[part]).items() if n > 40} == {}


@pytest.mark.parametrize("part", PARTS)
def test_nine_functions_in_ten_are_at_most_20_lines(part: str) -> None:
    lengths = sorted(functions(PARTS[part]).values())
    assert lengths[int(0.9 * len(lengths))] <= 20


def test_no_more_than_25_files_lie_at_the_top() -> None:
    assert len(list(SOURCE.glob("*.py"))) <= 25


def test_no_test_imports_another_test() -> None:
    importing = re.compile(r"^(?:from|import) test_\w+", re.MULTILINE)
    assert [str(path.relative_to(ROOT)) for path in PARTS["tests"] if importing.search(path.read_text())] == []


def test_every_module_opens_with_one_to_five_lines_of_purpose() -> None:
    for path in FILES:
        doc = ast.get_docstring(ast.parse(path.read_text())) or ""
        paragraph = doc.split("\n\n")[0].splitlines()
        assert 1 <= len(paragraph) <= 5, path


def test_no_module_is_named_after_nothing() -> None:
    assert not [path for path in FILES if path.stem in ("utils", "util", "helpers", "misc", "common")]
