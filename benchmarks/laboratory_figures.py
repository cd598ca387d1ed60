"""The laboratory's two figures as SVG files: lines with intervals over an axis, and values with intervals in rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

Point = tuple[float, float, float, float]
"""(x, value, low, high)"""
COLOURS = (
    "#0b6e99",
    "#c2410c",
    "#6d28d9",
    "#15803d",
    "#a16207",
    "#475569",
    "#be185d",
    "#0891b2",
    "#65a30d",
    "#7f1d1d",
    "#1e1b4b",
)
STYLE = "text{font:12px system-ui,sans-serif;fill:#334155}.grid{stroke:#e2e8f0}.frame{fill:#fff}"


def lines(
    series: Mapping[str, Sequence[Point]], axis: str, ticks: Sequence[str], first: int = 0, width: int = 760
) -> str:
    """Shares over an axis, one line per name, with an interval at every point from `first` on.

    Points stand at 0, 1, … of the axis, whose names are `ticks`; where a line ends early it goes on dashed, and a
    single point is a level, its interval at the right end.
    """
    legend = max(14, round(1.5 * len(series)) + 9)  # clear of the last points, which stand side by side
    left, right, top, bottom = 48, max(284, 52 + legend + 6 * max(map(len, series))), 14, 36
    width += right - 284  # for long names
    height = max(360, top + bottom + 20 * len(series) + 20)
    points = [point for line in series.values() for point in line]
    low, high = min(p[2] for p in points) - 0.01, max(p[3] for p in points) + 0.01
    last = len(ticks) - 1

    def x(value: float) -> float:
        return round(left + value / last * (width - left - right), 1)

    def y(value: float) -> float:
        return round(top + (high - value) / (high - low) * (height - top - bottom), 1)

    parts = [_level(left, width - right, y(at / 100), f"{at} %") for at in _rounds(100 * low, 100 * high)]
    parts += [_text(x(t), height - bottom + 18, name, "middle") for t, name in enumerate(ticks)]
    parts.append(_text((left + width - right) / 2, height - 4, axis, "middle"))
    for i, (name, line) in enumerate(series.items()):
        colour, shift = COLOURS[i % len(COLOURS)], 3.0 * (i - (len(series) - 1) / 2)
        way = [(x(at), y(value)) for at, value, _, _ in line]
        way += [(x(last), y(line[-1][1]))] if line[-1][0] < last else []
        places = " ".join(f"{across},{down}" for across, down in way)
        dashes = ' stroke-dasharray="5 4"' if line[-1][0] < last else ""
        parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        for at, value, below, above in line[first:]:
            across = x(at if len(line) > 1 else last) + (shift if below < above else 0)
            parts.append(f'<path d="M{across} {y(below)}V{y(above)}" stroke="{colour}"/>')
            parts.append(f'<circle cx="{across}" cy="{y(value)}" r="3.5" fill="{colour}"/>')
        down = top + 16 + 20 * i
        parts.append(f'<rect x="{width - right + legend}" y="{down - 9}" width="12" height="4" fill="{colour}"/>')
        parts.append(_text(width - right + legend + 18, down - 3, f"{name} {100 * line[-1][1]:.1f}"))
    return _drawing(width, height, parts)


def dots(rows: Mapping[str, tuple[float, float, float]], width: int = 720) -> str:
    """A share with its interval in each row; the first row's value is a line through all of them."""
    left, right, top, step = 370, 60, 12, 24
    height = top + step * len(rows) + 30
    low = min(row[1] for row in rows.values()) - 0.01
    high = max(row[2] for row in rows.values()) + 0.01

    def x(value: float) -> float:
        return round(left + (value - low) / (high - low) * (width - left - right), 1)

    foot = height - 26
    parts: list[str] = []
    for at in _rounds(100 * low, 100 * high):
        parts.append(f'<line class="grid" x1="{x(at / 100)}" x2="{x(at / 100)}" y1="{top}" y2="{foot}"/>')
        parts.append(_text(x(at / 100), foot + 16, f"{at} %", "middle"))
    first = next(iter(rows.values()))[0]
    parts.append(f'<path d="M{x(first)} {top}V{foot}" stroke="{COLOURS[0]}" stroke-dasharray="5 4"/>')
    for i, (name, (value, below, above)) in enumerate(rows.items()):
        down, colour = top + step * i + step / 2, COLOURS[0] if i == 0 else COLOURS[5]
        parts.append(_text(left - 10, down + 4, name, "end"))
        parts.append(f'<path d="M{x(below)} {down}H{x(above)}" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<circle cx="{x(value)}" cy="{down}" r="4" fill="{colour}"/>')
        parts.append(_text(width - right + 8, down + 4, f"{100 * value:.1f}"))
    return _drawing(width, height, parts)


def _rounds(low: float, high: float) -> list[int]:
    """Whole numbers for an axis, a handful."""
    step = next(step for step in (1, 2, 5, 10, 20, 50) if (high - low) / step <= 8)
    first = -int(-low // step) * step
    return [at for at in range(first, int(high) + 1, step) if at >= low]


def _level(x1: float, x2: float, y: float, name: str) -> str:
    return f'<line class="grid" x1="{x1}" x2="{x2}" y1="{y}" y2="{y}"/>' + _text(x1 - 6, y + 4, name, "end")


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _drawing(width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<style>{STYLE}</style><rect class="frame" width="{width}" height="{height}"/>{"".join(parts)}</svg>\n'
    )
