"""HTML that is safe by default: every child of an element is escaped unless an element made it."""

from __future__ import annotations

from html import escape

from selfboost.views.visible import visible

VOID = ("meta", "br", "line", "rect", "circle", "path", "polyline")
"""Elements without an end tag."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: object) -> Html:
    """An element. `class_` is the attribute class; `stroke_width` is stroke-width; None leaves an attribute out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(visible(str(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID and not children:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: tuple[str, ...] | list[str], between: str = "") -> Html:
    """Children one after another, escaped where they are plain text."""
    return Html(between.join(c if isinstance(c, Html) else escape(visible(c)) for c in children))


def said(text: str) -> Html:
    """Text written by a model or a person, set apart from our own: line breaks kept, text direction isolated."""
    return tag("div", text or "(nothing)", class_="said" if text else "said nothing", dir="auto")


def table(headings: list[str], rows: list[list[str]], numeric: tuple[int, ...] = (), *, class_: str = "") -> Html:
    """A table that scrolls by itself where the page is narrow; `numeric` columns are right-aligned.

    Without headings it has no header row. The keyboard reaches it, so that it scrolls without a mouse.
    """

    def side(column: int) -> str | None:
        return "number" if column in numeric else None

    names = [tag("th", heading, scope="col", class_=side(i)) for i, heading in enumerate(headings)]
    head = [tag("thead", tag("tr", *names))] if names else []
    body = [tag("tr", *(tag("td", cell, class_=side(i)) for i, cell in enumerate(row))) for row in rows]
    whole = tag("table", *head, tag("tbody", *body), class_=class_ or None)
    return tag("div", whole, class_="scroll", tabindex=0)


def folded(title: str, *children: str, open_: bool = False, class_: str | None = None) -> Html:
    """A part that opens on demand; open in print."""
    return tag("details", tag("summary", title), *children, class_=class_, open="open" if open_ else None)
