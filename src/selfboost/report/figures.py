"""Figures: a chart under its title, with a name for those who do not see it, and its SVG and numbers to download.

Downloads lie in the page itself, as data of their links: the page stays one file and runs no script. A downloaded SVG
has the light theme's colours, its title and its legend inside.
"""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Self

from selfboost.report.markup import Html, join, tag
from selfboost.views.visible import visible

STYLE = Path(__file__).with_name("page.css")
WIDTH, HEIGHT = 400, 220
"""Of a chart's drawing."""
TITLE_HEIGHT, LINE_HEIGHT, LETTER, KEY = 26, 18, 6.2, 20
"""Of a downloaded SVG: room for the title, height of a line of the legend, mean width of a letter, room for a key."""
COLOURED = ("a", "b", "c", "d", "grey", "better", "worse")
"""Classes whose colour is the variable of that name."""
Cell = str | float | int | None


class Chart(Html):
    """A chart's markup, with what its figure adds to it and offers for download."""

    parts: tuple[str, ...]
    """What is drawn, inside the SVG; empty where the chart is a table."""
    names: Mapping[str, str]
    """The legend: name → class of its colour."""
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    """The numbers."""
    below: Html

    @classmethod
    def drawn(
        cls,
        *parts: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        names: Mapping[str, str] | None = None,
        below: Html | None = None,
    ) -> Self:
        """A chart drawn as SVG, with its legend below it."""
        under = below or Html("")
        made = cls(join([_drawing(parts, None), under]))
        made.parts, made.names, made.columns, made.rows, made.below = parts, names or {}, columns, rows, under
        return made

    @classmethod
    def tabled(cls, markup: Html, *, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Self:
        """A chart made of a table, which reads by itself."""
        made = cls(markup)
        made.parts, made.names, made.columns, made.rows, made.below = (), {}, columns, rows, Html("")
        return made

    def titled(self, title: str) -> Html:
        """The chart as its figure shows it: the drawing carries the title as its name."""
        return join([_drawing(self.parts, title), self.below]) if self.parts else self


def figure(title: str, *children: str) -> Html:
    """Charts, tables or remarks under their title."""
    shown = [child.titled(title) if isinstance(child, Chart) else child for child in children]
    links = [link for child in children if isinstance(child, Chart) for link in _links(title, child)]
    below = [tag("p", "Download: ", *links, class_="downloads")] if links else []
    return tag("figure", tag("figcaption", title), *shown, *below)


def _drawing(parts: Sequence[str], title: str | None) -> Html:
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)


def _links(title: str, chart: Chart) -> list[Html]:
    name = re.sub(r"\W+", "-", title.casefold()).strip("-")[:80] or "figure"
    kinds = {"CSV": ("text/csv", csv_of(chart))}
    if chart.parts:
        kinds = {"SVG": ("image/svg+xml", svg_of(title, chart)), **kinds}
    return [
        tag(
            "a",
            kind,
            href=f"data:{media};base64,{base64.b64encode(content.encode()).decode()}",
            download=f"{name}.{kind.lower()}",
            aria_label=f"{title} as {kind}",
        )
        for kind, (media, content) in kinds.items()
    ]


def csv_of(chart: Chart) -> str:
    """The chart's numbers as CSV, with a header row; empty cells have no value."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(chart.columns)
    writer.writerows([visible(cell) if isinstance(cell, str) else cell for cell in row] for row in chart.rows)
    return file.getvalue()


def svg_of(title: str, chart: Chart) -> str:
    """The chart as an SVG file of its own."""
    lines, legend = _legend(chart.names)
    height = TITLE_HEIGHT + HEIGHT + lines * LINE_HEIGHT
    inside = [
        tag("style", Html(_svg_style())),
        tag("rect", x=0, y=0, width=WIDTH, height=height, class_="paper"),
        tag("text", title, x=10, y=17, class_="title", **_fitted(title)),
        tag("g", *chart.parts, transform=f"translate(0 {TITLE_HEIGHT})"),
        *legend,
    ]
    size = {"width": 2 * WIDTH, "height": 2 * height, "viewBox": f"0 0 {WIDTH} {height}"}
    return tag("svg", *inside, xmlns="http://www.w3.org/2000/svg", role="img", aria_label=title, **size)


def _fitted(title: str) -> dict[str, object]:
    """A long title is set narrower, so that it stays whole."""
    long = len(title) * LETTER > WIDTH - 20
    return {"textLength": WIDTH - 20, "lengthAdjust": "spacingAndGlyphs"} if long else {}


def _legend(names: Mapping[str, str]) -> tuple[int, list[Html]]:
    """How many lines the legend takes, and its keys and names."""
    parts: list[Html] = []
    x, line = 10.0, 0
    for name, colour in names.items():
        width = KEY + len(name) * LETTER
        if x + width > WIDTH and x > 10:
            x, line = 10.0, line + 1
        y = TITLE_HEIGHT + HEIGHT + line * LINE_HEIGHT + 10
        parts.append(tag("rect", x=x, y=y - 8, width=9, height=9, class_=f"key {colour}"))
        parts.append(tag("text", name, x=round(x + 14, 1), y=y))
        x += width
    return (line + 1 if names else 0), parts


@cache
def _svg_style() -> str:
    """Rules without variables or inheritance, which few programs but browsers understand."""
    found = dict(re.findall(r"--(\w+): (#\w+);", STYLE.read_text(encoding="utf-8").partition("}")[0]))
    rules = [
        f"text{{font:11px sans-serif;fill:{found['muted']}}}.title{{font-weight:600;fill:{found['ink']}}}",
        f".paper{{fill:{found['card']}}}.grid{{stroke:{found['rule']}}}.line{{fill:none;stroke-width:2}}",
        f".thin{{stroke-width:1.3}}.dashed,.line.b{{stroke-dasharray:5 4}}.hollow{{fill:{found['card']}}}",
    ]
    for name in COLOURED:
        rules.append(f".line.{name},.hollow.{name}{{stroke:{found[name]}}}")
        rules.append(f".dot.{name},.area.{name},.key.{name}{{fill:{found[name]}}}")
    return "".join(rules)
