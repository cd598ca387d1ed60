"""Sphinx's settings. The pages are put together by `tools.site`, which says where they and the source are."""

from __future__ import annotations

import re
from typing import Any

from docutils.nodes import Element
from sphinx.addnodes import desc_name
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

project = "selfboost"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "index"
exclude_patterns = ["src", "tests"]  # links to a file of the source take it along
highlight_language = "text"
smartquotes_action = "D"  # dashes alone: quotes stand as they are written
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
toc_object_entries = False
html_theme = "furo"
html_title = "selfboost"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_show_search_summary = False  # it would fetch pages, which a browser forbids for files


def setup(app: Sphinx) -> None:
    """The directive of a setting, and docstrings as they are written here."""
    app.add_object_type("setting", "setting", objname="setting", parse_node=_short)
    app.connect("autodoc-process-docstring", _as_restructured_text)


def _short(_: BuildEnvironment, path: str, node: Element) -> str:
    """A setting shows its name; its path is what search finds and links name."""
    name = path.rpartition(".")[2]
    node += desc_name(name, name)
    return path


def _as_restructured_text(_app: Sphinx, _what: str, _name: str, _found: Any, _options: Any, lines: list[str]) -> None:
    """What stands between backticks is code, and no other sign has a meaning; what is raised is a list."""
    raises = False
    for at, line in enumerate(lines):
        pieces = re.split(r"(`[^`]+`)", line)
        text = "".join(f"`{p}`" if p.startswith("`") else re.sub(r"([\\*_|])", r"\\\1", p) for p in pieces)
        raises = raises or line == "Raises:"
        lines[at] = re.sub(r"^ {4}(\w+): ", r":raises \1: ", text) if raises and line != "Raises:" else text
    lines[:] = [line for line in lines if line != "Raises:"]
