"""The pages of the site, as Markdown, in a folder of their own that is laid out like the repository, so that a link
leads to the same file on the site as on a forge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from tools.site import settings

import selfboost

INDEX = "docs/README.md"
"""The list of all pages: headings, and under each the pages in order. The site's navigation is made from it."""
TOUR = "docs/tour.ipynb"
GENERATED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "Recipes and settings": (("Settings", "settings/index"),),
    "Python": (("A tour", "docs/tour"), ("The Python interface", "docs/api")),
}
"""Heading of the list → the pages that are made here and stand at its end: title and name."""
FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def write_pages(root: Path, into: Path) -> None:
    """Write all pages, and links to what they show."""
    for page in [*root.glob("*.md"), *(root / "docs").rglob("*.md")]:
        name = page.relative_to(root)
        text = with_links_of_the_site(page.read_text(encoding="utf-8"), page.parent, root)
        _write(into / name, f"---\norphan: true\n---\n{text}" if name.as_posix() == INDEX else text)
    (into / "index.md").write_text(_start(into, root), encoding="utf-8")
    (into / "README.md").unlink()
    for name, text in settings.pages().items():
        _write(into / "settings" / f"{name}.md", text)
    _write(into / "docs" / "tour.md", notebook_page((root / TOUR).read_text(encoding="utf-8")))
    _write(into / "docs" / "api.md", _interface())
    for shown in [*root.glob("docs/*.svg"), *root.glob("docs/*.json"), root / "src", root / "tests"]:
        (into / shown.relative_to(root)).symlink_to(shown)


def navigation(index: str) -> dict[str, list[tuple[str, str]]]:
    """Heading → its pages: title and name, without the first page, which the site begins with."""
    found: dict[str, list[tuple[str, str]]] = {}
    for heading, title, link in re.findall(r"^## (.+)$|^\d+\. \[(.+?)\]\((.+?)\.md\)", index, re.MULTILINE):
        if heading:
            found[heading] = []
        elif link != "../README":
            found[[*found][-1]].append((title, link.removeprefix("../") if link.startswith("../") else f"docs/{link}"))
    for heading, made in GENERATED.items():
        found[heading] += made
    return found


def notebook_page(text: str) -> str:
    """A notebook without outputs as Markdown."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    return "\n\n".join(f"```python\n{source}\n```" if kind == "code" else source for kind, source in cells) + "\n"


def _start(into: Path, root: Path) -> str:
    trees = [
        "\n".join(
            ["```{toctree}", ":hidden:", f":caption: {heading}", "", *(f"{t} <{name}>" for t, name in pages), "```"]
        )
        for heading, pages in navigation((root / INDEX).read_text(encoding="utf-8")).items()
    ]
    return "\n\n".join([(into / "README.md").read_text(encoding="utf-8"), *trees]) + "\n"


def _interface() -> str:
    """The public names: first what the package's docstring names, in its order, and what that returns."""
    named = re.findall(r"`(\w+)`", selfboost.__doc__ or "")
    first = [*(name for name in named if name in selfboost.__all__), "RunSummary", "RunComparison"]
    parts = [
        "# The Python interface",
        "All that `selfboost` offers, from its docstrings. [From Python](python.md) shows how the parts work together.",
        "## Runs",
        *map(_documented, first),
        "## What components are written against",
        "[A method of your own](guides/method.md) and its neighbours show each in use.",
        *(_documented(name) for name in selfboost.__all__ if name not in first),
    ]
    return "\n\n".join(parts) + "\n"


def _documented(name: str) -> str:
    found = getattr(selfboost, name)
    directive = "autoclass" if isinstance(found, type) else "autofunction"
    members = "\n   :members:\n   :undoc-members:" if isinstance(found, type) else ""
    return f"```{{eval-rst}}\n.. {directive}:: selfboost.{name}{members}\n```"


def with_links_of_the_site(text: str, folder: Path, root: Path) -> str:
    """A page's text, whose links lead to pages of the site; a link to a folder becomes its text."""
    parts = FENCE.split(text)
    return "".join(
        part if part.startswith("```") else LINK.sub(lambda m: _link(m, folder, root), part) for part in parts
    )


def _link(match: re.Match[str], folder: Path, root: Path) -> str:
    title, target, anchor = match.groups()
    if target.startswith("http"):
        return match[0]
    to = (folder / target).resolve()
    if to.is_dir():
        return title
    names = {root / "README.md": "index.md", root / TOUR: "tour.md"}
    return f"[{title}]({target.removesuffix(to.name)}{names.get(to, to.name)}{anchor or ''})"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
