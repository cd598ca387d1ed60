"""Charts as inline SVG, drawn by small functions: estimates with intervals, curves, histograms, bars.

Colours are the page's classes (`a`, `b`, `c` …), so that they follow its light and dark themes. Left out: interaction
other than tooltips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfboost.measures import Estimated
from selfboost.report.figures import HEIGHT, WIDTH, Chart
from selfboost.report.markup import Html, join, tag
from selfboost.views.sentences import number
from selfboost.views.summary import IterationSummary

LEFT, RIGHT, TOP, BOTTOM = 50, 12, 10, 34
NARROWEST, FARTHEST = 1e-6, 1e12
"""Smallest margin around the values of an axis; values beyond the second (a diverged training) are not drawn."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its interval, if there is one."""

    x: float
    value: float
    low: float | None = None
    high: float | None = None
    hollow: bool = False
    """Drawn hollow: a candidate that did not become the policy."""


@dataclass(frozen=True)
class Frame:
    """A chart's area: maps data coordinates to positions on the drawing."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    share: bool = False
    """The values on the y axis are shown in percent."""

    def x(self, value: float) -> float:
        """Across."""
        return round(LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Down."""
        return round(TOP + (self.y_high - value) / (self.y_high - self.y_low) * (HEIGHT - TOP - BOTTOM), 1)


def _drawable(value: float) -> bool:
    return abs(value) < FARTHEST  # false for NaN


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers between low and high."""
    assert high > low, "an axis must have a length"
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def spread(values: Sequence[float], *, around: float = 0.08) -> tuple[float, float]:
    """The range of values with a small margin; never empty."""
    low, high = min(values), max(values)
    room = (high - low) * around or abs(high) * 0.1
    room = room if room > NARROWEST else max(1.0 if high == low else 0.0, NARROWEST)
    return low - room, high + room


def by_iteration(
    iterations: Iterable[IterationSummary], found: Callable[[IterationSummary], Estimated | None]
) -> list[Estimate]:
    """The points of what was found of each iteration; those without a value are left out."""
    return [
        Estimate(
            x=entry.iteration,
            value=each.value,
            low=each.low,
            high=each.high,
            hollow=entry.decision not in ("initial", "promoted"),
        )
        for entry in iterations
        if (each := found(entry)) is not None and each.value is not None
    ]


def estimates(
    points: Sequence[Estimate], beside: Sequence[tuple[str, float]], *, share: bool = False, x_label: str = "iteration"
) -> Chart:
    """Values with their intervals by iteration, and other models as dashed reference lines."""
    ends = [end for p in points for end in (p.value, p.low, p.high) if end is not None]
    y_low, y_high = spread([*ends, *(value for _, value in beside)])
    if share and max(ends) <= 1 < y_high:
        y_high = 1 + 0.03 * (1 - y_low)  # no share is beyond 100 %
    frame = Frame(
        min(p.x for p in points) - 0.3,
        max(p.x for p in points) + 0.3,
        y_low,
        y_high,
        share,
    )
    kept = [p for p in points if not p.hollow]
    line = _line(frame, [(p.x, p.value) for p in kept], "a")
    references = [_reference(frame, value) for _, value in beside]
    axes = _axes(frame, x_label, [p.x for p in points])
    names = [tag("span", tag("i", class_="key dash c"), f"{name} {number(at, share=share)}") for name, at in beside]
    return Chart.drawn(
        axes,
        *references,
        line,
        *(_estimate(frame, p) for p in points),
        columns=(x_label, "value", "low", "high", "became the policy"),
        rows=[
            *([p.x, p.value, p.low, p.high, "no" if p.hollow else "yes"] for p in points),
            *([name, value, None, None, ""] for name, value in beside),
        ],
        names={f"{name} {number(at, share=share)}": "c" for name, at in beside},
        below=tag("p", *names, class_="legend") if names else Html(""),
    )


def _estimate(frame: Frame, point: Estimate) -> Html:
    x, label = frame.x(point.x), f"{point.x:g}: {number(point.value, share=frame.share)}"
    parts = [tag("title", label)]
    if point.low is not None and point.high is not None:
        y1, y2 = frame.y(point.low), frame.y(point.high)
        parts.append(tag("path", d=f"M{x - 4} {y1}h8M{x} {y1}V{y2}M{x - 4} {y2}h8", class_="line a thin"))
    dot = "hollow a" if point.hollow else "dot a"
    return tag("g", *parts, tag("circle", cx=x, cy=frame.y(point.value), r=4, class_=dot))


def _reference(frame: Frame, value: float) -> Html:
    y = frame.y(value)
    return tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="line c dashed")


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    share: bool = False,
    x_label: str = "step",
    marks: Sequence[float] = (),
) -> Html | Chart:
    """Lines over steps, one per name, in the order of the classes a, b, c …; with the legend below.

    `marks` are positions on the x axis with a vertical line, where a new part begins.
    """
    points = [point for line in series.values() for point in line if _drawable(point[1])]
    if not points:
        return tag("p", "nothing finite to draw", class_="muted")
    xs = [x for x, _ in points]
    width = (max(xs) - min(xs)) or 1
    frame = Frame(min(xs) - 0.03 * width, max(xs) + 0.03 * width, *spread([y for _, y in points]), share)
    lines = [_curve(frame, line, "abcd"[i % 4]) for i, line in enumerate(series.values())]
    uprights = [_upright(frame, mark) for mark in marks if frame.x_low < mark < frame.x_high]
    steps = [at for at in ticks(min(xs), max(xs) or 1, 6) if at == int(at)] if len(set(xs)) > 1 else sorted(set(xs))
    return Chart.drawn(
        _axes(frame, x_label, steps),
        *uprights,
        *lines,
        columns=("line", x_label, "value"),
        rows=[[name, x, y] for name, line in series.items() for x, y in line],
        **_named(series),
    )


def _upright(frame: Frame, value: float) -> Html:
    x = frame.x(value)
    return tag("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="line grey dashed")


def _curve(frame: Frame, points: Sequence[tuple[float, float]], colour: str) -> Html:
    finite = [(x, y) for x, y in points if _drawable(y)]
    if len(finite) == 1:
        return tag("circle", cx=frame.x(finite[0][0]), cy=frame.y(finite[0][1]), r=3, class_=f"dot {colour}")
    return _line(frame, finite, colour)


def histogram(
    groups: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    bins: int = 24,
    within: tuple[float, float] | None = None,
    share: bool = False,
) -> Chart:
    """Counts of values in bins: bars for one group, outlines for several, which bars would hide.

    `within` fixes the axis: values outside are counted in the first or the last bin. With `share` the bins hold
    shares of their group, so that groups of different sizes compare.
    """
    values = [value for group in groups.values() for value in group if _drawable(value)]
    low, high, bins = (*within, bins) if within else _edges(values, bins)
    counts = {name: _binned(group, low, high, bins) for name, group in groups.items()}
    if share:
        counts = {name: [count / (sum(column) or 1) for count in column] for name, column in counts.items()}
    most = max((count for column in counts.values() for count in column), default=1) or 1
    frame = Frame(low, high, 0, most * 1.05, share)
    draw = _bars if len(groups) == 1 else _outline
    shapes = [draw(frame, column, low, high, "abcd"[i % 4]) for i, column in enumerate(counts.values())]
    step = (high - low) / bins
    return Chart.drawn(
        _axes(frame, x_label, ticks(low, high, 6)),
        *shapes,
        columns=("group", f"{x_label} from", "to", "share" if share else "count"),
        rows=[
            [n, low + i * step, low + (i + 1) * step, c] for n, column in counts.items() for i, c in enumerate(column)
        ],
        **_named(groups),
    )


def _edges(values: Sequence[float], most: int) -> tuple[float, float, int]:
    """Ends and number of the bins; integers get bins of integer width, so that none falls on an edge."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if all(value == int(value) for value in values):
        width = math.ceil((high - low + 1) / most)
        bins = math.ceil((high - low + 1) / width)
        return low - 0.5, low - 0.5 + bins * width, bins
    return (low, high, most) if high - low > NARROWEST else (low - 0.5, high + 0.5, most)


def _binned(values: Sequence[float], low: float, high: float, bins: int) -> list[float]:
    counts = [0.0] * bins
    for value in values:
        if _drawable(value):
            counts[min(bins - 1, max(0, int((value - low) / (high - low) * bins)))] += 1
    return counts


def _bars(frame: Frame, counts: Sequence[float], low: float, high: float, colour: str) -> Html:
    step = (high - low) / len(counts)
    rects: list[str] = []
    for i, count in enumerate(counts):
        if count:
            x1, x2, y = frame.x(low + i * step), frame.x(low + (i + 1) * step), frame.y(count)
            title = tag("title", f"{number(low + i * step)} to {number(low + (i + 1) * step)}: {_height(count, frame)}")
            size = {"width": round(max(x2 - x1 - 1, 0.5), 1), "height": round(frame.y(0) - y, 1)}
            rects.append(tag("rect", title, x=x1, y=y, class_=f"area {colour}", **size))
    return tag("g", *rects)


def _height(count: float, frame: Frame) -> str:
    return number(count, share=True) if frame.share else f"{count:,.0f}"


def _outline(frame: Frame, counts: Sequence[float], low: float, high: float, colour: str) -> Html:
    step = (high - low) / len(counts)
    corners = [(low + (i + side) * step, count) for i, count in enumerate(counts) for side in (0, 1)]
    return _line(frame, [(low, 0), *corners, (high, 0)], f"{colour} thin")


def bars(counts: Mapping[str, float], *, highlighted: str = "kept") -> Chart:
    """Counts by reason as a table with a bar in each row, scaled to the largest."""
    most = max(counts.values(), default=0) or 1
    ordered = sorted(counts.items(), key=lambda item: (item[0] == highlighted, -item[1]))  # from most to what is left
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            tag("td", number(count) if isinstance(count, float) else f"{count:,}", class_="number"),
            tag("td", tag("span", class_=f"bar {'a' if name == highlighted else 'grey'}", style=_width(count, most))),
        )
        for name, count in ordered
    ]
    return Chart.tabled(
        tag("table", tag("tbody", *rows), class_="bars"),
        columns=("name", "count"),
        rows=[list(item) for item in ordered],
    )


OUTCOMES = {"won": "better", "tied": "grey", "lost": "worse"}
"""Colours of the parts of a comparison."""


def outcomes(rows: Mapping[str, tuple[float, float, float]]) -> Chart:
    """Comparisons won, tied and lost as parts of a bar, in percent, with a row for each opponent."""
    lines: list[Html] = []
    for name, counts in rows.items():
        parts = dict(zip(OUTCOMES, (count / (sum(counts) or 1) for count in counts), strict=True))
        text = " / ".join(number(part, share=True, unit=False) for part in parts.values())
        spans = [tag("span", class_=f"bar {OUTCOMES[side]}", style=_width(part, 1)) for side, part in parts.items()]
        shown = tag("td", tag("div", *spans, class_="stacked"))
        lines.append(tag("tr", tag("th", name, scope="row"), tag("td", text, class_="number"), shown))
    keys = [tag("span", tag("i", class_=f"key {colour}"), f"{side} %") for side, colour in OUTCOMES.items()]
    shown = join([tag("table", tag("tbody", *lines), class_="bars"), tag("p", *keys, class_="legend")])
    return Chart.tabled(
        shown, columns=("comparison", *OUTCOMES), rows=[[name, *counts] for name, counts in rows.items()]
    )


def split(parts: Mapping[str, float], colours: Mapping[str, str], unit: str = "") -> Html:
    """Parts of a whole as one bar; the legend has each one's count (of `unit`) or share, so that it reads in print."""
    whole = sum(parts.values()) or 1
    spans = [tag("span", class_=f"bar {colours[name]}", style=_width(part, whole)) for name, part in parts.items()]
    keys = [
        tag(
            "span",
            tag("i", class_=f"key {colours[name]}"),
            f"{part:,.0f} {name}" if unit else _part(name, part / whole),
        )
        for name, part in parts.items()
    ]
    total = [f"of {whole:,.0f} {unit}"] if unit else []
    return join([tag("div", *spans, class_="stacked"), tag("p", *keys, *total, class_="legend")])


def _part(name: str, share: float) -> str:
    return f"{name} {100 * share:.0f} %"


def _named(names: Iterable[str]) -> dict[str, Any]:
    """The colour of each name, where there are several: as data, and below the drawing."""
    colours = {name: "abcd"[i % 4] for i, name in enumerate(names)}
    if len(colours) < 2:
        return {}
    keys = [tag("span", tag("i", class_=f"key {colour}"), name) for name, colour in colours.items()]
    return {"names": colours, "below": tag("p", *keys, class_="legend")}


def _width(value: float, most: float) -> str:
    return f"width:{max(0.0, 100 * value / most):.1f}%"


def _line(frame: Frame, points: Sequence[tuple[float, float]], colour: str) -> Html:
    places = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in points)
    return tag("polyline", points=places, class_=f"line {colour}")


def _axes(frame: Frame, x_label: str, x_ticks: Sequence[float]) -> Html:
    parts: list[str] = []
    marks = ticks(frame.y_low, frame.y_high)
    step = (marks[1] - marks[0] if marks[1:] else 1.0) * (100 if frame.share else 1)
    for value in marks:
        if frame.share and abs(value) > 1:
            continue  # no share, nor difference of shares, is beyond 100 %
        y = frame.y(value)
        text = f"{_mark(100 * value, step)} %" if frame.share else _mark(value, step)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", text, x=LEFT - 6, y=y + 4, text_anchor="end"))
    for value in x_ticks:
        parts.append(tag("text", f"{value:g}", x=frame.x(value), y=HEIGHT - BOTTOM + 15, text_anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    return tag("g", *parts, tag("text", x_label, x=middle, y=HEIGHT - 4, text_anchor="middle", class_="muted"))


def _mark(value: float, step: float) -> str:
    """A number on an axis, with enough digits to distinguish it from its neighbours."""
    return f"{value:.2g}" if abs(value) >= 1e7 else f"{value:,.{max(0, -math.floor(math.log10(step)))}f}"
