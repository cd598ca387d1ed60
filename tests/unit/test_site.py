"""The site: its reference has every setting once, its links lead to pages, and it needs nothing from elsewhere."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tools.site import pages, settings

from selfboost import plugins
from selfboost.recipe import ROLES
from selfboost.views.recipe_schema import recipe_schema

ROOT = Path(__file__).parents[2]
MADE = settings.pages()
SETTING = re.compile(r"^:::\{setting\} (\S+)\n(.+?)\n:::$", re.DOTALL | re.MULTILINE)
FOUND = {name: text for page in MADE.values() for name, text in SETTING.findall(page)}
"""Path of a setting → what the reference says."""


def names_in_the_schema() -> set[str]:
    """The same, by the schema that editors use: sections without kinds, kinds of all roles, nested tables."""
    schema = recipe_schema()
    named: set[str] = set()
    for name, part in schema["definitions"].items():
        for table in part.get("anyOf", [part]):
            known: dict[str, Any] = table.get("properties", {})
            place = f"{name}.{known['kind']['const']}" if "const" in known.get("kind", {}) else name
            named |= {f"{place}.{key}" for key in known if key != "kind"}
    for section, part in schema["properties"].items():
        table = (part.get("$ref") or part["allOf"][0]["$ref"]).rpartition("/")[2]
        if table not in ROLES.values():
            named |= {f"{section}.{key}" for key in schema["definitions"][table]["properties"]}
    return named


def test_every_setting_has_its_place_meaning_type_and_default() -> None:
    sections = {"RunSettings", "ModelSource", "SeedSource", "Gate", "SeedModels"}  # stand under their sections' names
    assert FOUND.keys() == {name for name in names_in_the_schema() if name.partition(".")[0] not in sections}
    assert len(FOUND) == sum(len(SETTING.findall(page)) for page in MADE.values())
    for name, text in FOUND.items():
        words, _, facts = text.partition("\n\n")
        assert len(words) > 5, name
        assert re.match(r"\*.*(default|required|table: \[|`kind`)", facts), name


def test_a_setting_is_told_as_the_recipes_reader_has_it() -> None:
    assert FOUND["loss.simpo.nll_weight"].endswith("*A number from 0 to 1,000,000; default `0.0`.*")
    assert "*A table: [Training](#settings-training); default `{learning_rate = 1e-06, b" in FOUND["seed_models.sft"]
    assert '`"always"`, `"not_worse"` or `"better"`; default `"not_worse"`' in FOUND["gate.rule"]
    assert "text of 1 to 4,096 characters; required" in FOUND["model.path"].lower()
    assert "0, or a number from 0.001 to 100; default `0.7`" in FOUND["Sampling.temperature"]


def test_settings_of_speed_are_those_that_are_marked() -> None:
    for role in set(ROLES.values()) - {"cluster"}:
        for kind in plugins.kinds(role):
            for f in fields(plugins.load(role, kind)):
                marked = bool(f.metadata.get("speed_only"))
                assert (settings.SPEED in FOUND[f"{role}.{kind}.{f.name}"]) == marked
    assert all(settings.SPEED in text for name, text in FOUND.items() if name.startswith("cluster.ray."))


def test_the_references_links_lead_to_its_own_targets() -> None:
    text = "\n".join(MADE.values())
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= set(re.findall(r"^\((.+)\)=$", text, re.MULTILINE))
    assert set(re.findall(r"\]\((\w+)\.md\)", text)) <= MADE.keys()


def test_the_navigation_has_every_page_but_the_first_and_the_index() -> None:
    found = pages.navigation((ROOT / pages.INDEX).read_text(encoding="utf-8"))
    named = [name for entries in found.values() for _, name in entries]
    made = {name for entries in pages.GENERATED.values() for _, name in entries}
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    written = {str(file.relative_to(ROOT).with_suffix("")) for file in files} - {"README", "docs/README"}
    assert sorted(named) == sorted(written | made)


def test_links_are_turned_to_pages_of_the_site_outside_of_code() -> None:
    folder = ROOT / "docs"
    text = "[a](../README.md#x) [b](../src) [c](tour.ipynb) [d](log.md#y) [e](https://x.org/README.md)\n```\n[b](../src)\n```\n"
    made = "[a](../index.md#x) b [c](tour.md) [d](log.md#y) [e](https://x.org/README.md)\n```\n[b](../src)\n```\n"
    assert pages.with_links_of_the_site(text, folder, ROOT) == made


def test_a_notebook_is_text_and_code() -> None:
    cells = [{"cell_type": "markdown", "source": ["# A\n", "b"]}, {"cell_type": "code", "source": ["1 + 1"]}]
    assert pages.notebook_page(json.dumps({"cells": cells})) == "# A\nb\n\n```python\n1 + 1\n```\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what the site is made of."""
    pytest.importorskip("sphinx", reason="needs the extra `docs`")
    for page in ROOT.glob("*.md"):
        shutil.copy(page, tmp_path)
    for name in ("docs", "src", "tests", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def build(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.site"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_fetches_nothing(copy: Path) -> None:
    ran = build(copy)
    assert ran.returncode == 0, ran.stderr
    elsewhere = r"""["'(]*(?:https?:)?//"""
    fetched = re.compile(rf"""(?:src|srcset)={elsewhere}|<link[^>]*href={elsewhere}|url{elsewhere}|@import""")
    assert all(map(fetched.search, ('url("https://x.org/a.woff")', '<script src="//x.org/a.js">')))
    files = [*(copy / "build" / "site").rglob("*.html"), *(copy / "build" / "site").rglob("*.css")]
    assert len(files) > 50
    assert [file.name for file in files if fetched.search(file.read_text(encoding="utf-8"))] == []


@pytest.mark.slow
def test_a_broken_link_or_anchor_ends_the_build(copy: Path) -> None:
    with (copy / "docs" / "export.md").open("a", encoding="utf-8") as page:
        page.write("\n[a](no-page.md) [b](log.md#no-heading)\n")
    ran = build(copy)
    assert ran.returncode != 0
    assert all(re.search(rf"export\.md.*{name}", ran.stderr) for name in ("no-page", "no-heading"))
