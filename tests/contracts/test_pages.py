"""The pages fit together: links lead somewhere, the index has each page, the table of rooms is the source's."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def anchors(page: Path) -> set[str]:
    """What a link may name in a page: its headings, in small letters with hyphens."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_the_index_has_every_page_once_and_counts_them() -> None:
    text = (ROOT / "docs" / "README.md").read_text()
    listed = [(ROOT / "docs" / link).resolve() for link in re.findall(r"^\d+\. \[.*?\]\((.*?)\)", text, re.MULTILINE)]
    assert sorted(listed) == sorted({*PAGES} - {ROOT / "docs" / "README.md"})
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]
    assert numbers == list(range(1, len(listed) + 1))


def test_the_rooms_are_told_in_the_order_of_the_layers() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [row.replace(" ", "").split("|") for row in next(c for c in contracts if "layers" in c)["layers"]]
    depth = {name: at for at, row in enumerate(layers) for name in row}
    table = re.findall(r"^\| (`.*?) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    named = [name for row in table for name in re.findall(r"`(\w+)(?:\.py|/)`", row)]
    told = [name for name in named if name in depth]
    assert [depth[name] for name in told] == sorted(depth[name] for name in told)
    source = ROOT / "src" / "selfboost"
    assert all((source / name).is_dir() or (source / f"{name}.py").is_file() for name in named)
    rooms = {path.name for path in source.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= set(named)
