"""Reads a report as a browser would: every element closed in order, and nothing that loads or runs."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

from selfboost.report import write_report
from selfboost.report.markup import VOID


class Balance(HTMLParser):
    """Collects names and attributes; every element must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen = Counter[str]()
        self.attributes = Counter[str]()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] += 1
        self.attributes.update(name for name, _ in attrs)
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(root: Path) -> str:
    """The report of a run's folder, once it has been found safe."""
    text = write_report(root).read_text(encoding="utf-8")
    parsed = Balance(text)
    assert not {"script", "link", "img", "iframe", "object"} & parsed.seen.keys()
    assert not {name for name in parsed.attributes if name.startswith("on") or name == "src"}
    assert not re.search(r"url\(|@import|https?://", text)
    return text
