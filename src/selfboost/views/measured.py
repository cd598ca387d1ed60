"""`selfboost measure MODEL`: a measurement of one model, or of two beside each other, as a table and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from selfboost.measures import Measure
from selfboost.measuring.paired import Compared
from selfboost.measuring.stored import Figure, Measurement
from selfboost.views.comparison import comparison_table, remarks
from selfboost.views.sentences import interval, number, title_of
from selfboost.views.streams import console
from selfboost.views.visible import visible


def as_json(found: Measurement) -> dict[str, Any]:
    """Measure → metric, value, low, high and n, in the measure's own unit (shares from 0 to 1); differences if any."""
    gaps = found.differences
    return {
        name: {
            "metric": found.declared[name].metric or name,
            "value": figure.value,
            "low": figure.low,
            "high": figure.high,
            "n": figure.n,
            "missing": figure.missing,
            "title": found.declared[name].title,
            "unit": found.declared[name].unit,
            "better": found.declared[name].better,
            **(_against(found.against.figures[name], gaps.get(name)) if found.against else {}),
        }
        for name, figure in found.figures.items()
    }


def _against(other: Figure, gap: Compared | None) -> dict[str, Any]:
    if gap is None:
        return {"against": other.value}
    return {
        "against": other.value,
        "difference": gap.difference.value,
        "difference_low": gap.difference.low,
        "difference_high": gap.difference.high,
        "p": gap.difference.p,
        "p_holm": gap.p_holm,
        "test": gap.test,
    }


def print_measured(found: Measurement) -> None:
    """The figures, and the differences from the other model."""
    out = console()
    for each in (found, found.against):
        if each is not None:
            out.print(visible(f"{each.model.name}, 95 % intervals over items:"), soft_wrap=True)
            out.print(_table(each.figures, found.declared))
    if found.against is not None and (gaps := found.differences):
        names = f"{found.model.name} minus {found.against.model.name}"
        out.print(visible(f"{names}, 95 % intervals over items:"), soft_wrap=True)
        out.print(comparison_table(gaps))
        for sentence in remarks(gaps):
            out.print(sentence)


def _table(figures: Mapping[str, Figure], declared: Mapping[str, Measure]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    missing = any(figure.missing for figure in figures.values())
    for heading in ("measure", "value", "interval", "items", *(["missing"] if missing else [])):
        table.add_column(heading, justify="left" if heading == "measure" else "right", overflow="fold")
    for name, figure in figures.items():
        measure = declared[name]
        row = [visible(title_of(measure)), number(figure.value, share=measure.share, unit=False)]
        row += [interval(figure, share=measure.share), f"{figure.n:,}", *([f"{figure.missing:,}"] if missing else [])]
        table.add_row(*row)
    return table
