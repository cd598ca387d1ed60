"""Size budgets of the source: a file 300 lines, a function 40, the 90th percentile of functions 20. Split by idea."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "selfboost"
FILES = sorted(SOURCE.rglob("*.py"))


def functions() -> dict[str, int]:
    """Name → lines, of every function and method."""
    lengths = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}"
                lengths[name] = (node.end_lineno or node.lineno) - node.lineno + 1
    return lengths


def test_files_are_at_most_300_lines() -> None:
    lengths = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > 300} == {}


def test_functions_are_at_most_40_lines() -> None:
    assert {name: n for name, n in functions().items() if n > 40} == {}


def test_nine_functions_in_ten_are_at_most_20_lines() -> None:
    lengths = sorted(functions().values())
    assert lengths[int(0.9 * len(lengths))] <= 20


def test_every_module_opens_with_one_to_five_lines_of_purpose() -> None:
    for path in FILES:
        doc = ast.get_docstring(ast.parse(path.read_text())) or ""
        paragraph = doc.split("\n\n")[0].splitlines()
        assert 1 <= len(paragraph) <= 5, path


def test_no_module_is_named_after_nothing() -> None:
    assert not [path for path in FILES if path.stem in ("utils", "util", "helpers", "misc", "common")]
