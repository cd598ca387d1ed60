"""The laboratory's documents are what its rows say, and every row of its tables leads to the command that makes it."""

import re
import shlex
from pathlib import Path

import pytest
from benchmarks.laboratory import wanted
from benchmarks.laboratory_compared import COMPARED
from benchmarks.laboratory_groups import CELLS
from benchmarks.laboratory_page import COMMANDS, PAGE, TABLE, commands, documents, renewed, tables
from benchmarks.laboratory_rows import Row, Rows, read

DOCS = Path(__file__).parents[2] / "docs"
NOT_MEASURED = "| you have | choose | why |"
"""The only table of the page that no program makes."""


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Every row of the file."""
    return Rows(read(DOCS / "laboratory.json"))


@pytest.fixture(scope="module")
def of_rows(rows: Rows) -> dict[str, str]:
    """Every table of them."""
    return tables(rows)


def test_page_commands_and_figures_are_what_the_rows_say(rows: Rows, of_rows: dict[str, str]) -> None:
    made = documents(rows, of_rows, (DOCS / PAGE).read_text())
    stale = [name for name, text in made.items() if (DOCS / name).read_text() != text]
    assert not stale, "python -m benchmarks.laboratory --into DIR --show renews them"
    assert {path.name for path in DOCS.glob("laboratory*.svg")} <= made.keys()


def test_every_table_of_the_page_is_made_anew(of_rows: dict[str, str]) -> None:
    page = (DOCS / PAGE).read_text()
    emptied = TABLE.sub(lambda match: f"{match[1]}| nothing |\n", page)
    assert renewed(emptied, of_rows) == page
    heads = re.findall(r"(?<!\|\n)^\|.*", emptied, re.MULTILINE)
    assert [head for head in heads if head != "| nothing |"] == [NOT_MEASURED]


def test_a_table_without_rows_stays_as_it_is() -> None:
    page = "<!-- table: fading loss -->\n\n| old |\n\ntext\n\n<!-- table: methods -->\n\n| old |\n"
    row = Row(cell="synpo", iteration=1, seed=0, measure="sampled", value=0.5, low=0.4, high=0.6)
    one, other = renewed(page, tables(Rows([row]))).split("text")
    assert "| old |" in one
    assert "| old |" not in other
    assert f"| [SynPO]({COMMANDS}#synpo) | 50.0 |" in other


def test_each_command_runs_the_row_that_leads_to_it() -> None:
    run = set[str]()
    for heading, patterns in re.findall(r"^### (.+)\n\n.+\n\n```\n.* --only (.+)\n```$", commands(), re.MULTILINE):
        names = {cell.name for cell in wanted(shlex.split(patterns))}
        compared = {
            cell.name for (_, name), cells in COMPARED.items() for cell in cells if heading == f"compared-{name}"
        }
        assert names == (compared or {heading})
        run |= names
    assert run == set(CELLS)
