"""`selfboost measure MODEL`: a measurement of one model, or of two beside each other, as a table and for programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.table import Table

from selfboost.measures import Measure
from selfboost.measuring.measurement import measure
from selfboost.measuring.paired import Compared, compare_ratings
from selfboost.measuring.request import Request, planned
from selfboost.measuring.stored import Figure, Measurement, read, write
from selfboost.views.comparison import comparison_table, remarks
from selfboost.views.sentences import interval, number, title_of
from selfboost.views.streams import console
from selfboost.views.terminal import Terminal
from selfboost.views.visible import visible


def measure_and_print(request: Request, into: Path | None, to: Path | None, *, json: bool) -> None:
    """Measure, store the result if it has a file, and print it. Without a folder nothing is kept to resume from.

    Raises:
        ValueError: an error that the user can fix, in one sentence.
    """
    if to is not None:
        _check_file(to)
    with ExitStack() as opened:
        plan = planned(request, lambda said: print(said, file=sys.stderr))
        root = into or Path(opened.enter_context(TemporaryDirectory(prefix="selfboost-measure-")))
        found = measure(plan, root, opened.enter_context(Terminal()))
    if to is not None:
        write(to, found)
    if json:
        print(dumps(as_json(found), indent=1))
    else:
        print_measured(found)


def _check_file(to: Path) -> None:
    """Refuse a place where a measurement cannot be written, or would replace something else."""
    if not to.parent.is_dir():
        raise ValueError(f"--to {to}: there is no folder {to.parent}")
    if to.exists():
        try:
            read(to)
        except (ValueError, OSError) as error:
            raise ValueError(f"--to {to}: exists and is no measurement, so it is left as it is") from error


def differences(found: Measurement) -> dict[str, Compared]:
    """The model minus the other one, by measure; empty if it was measured alone."""
    if found.against is None:
        return {}
    others = {rated.prompt: rated for rated in found.against.items}
    own = [rated for rated in found.items if rated.prompt in others]
    return compare_ratings(found.declared, [others[rated.prompt] for rated in own], own, "items")


def as_json(found: Measurement) -> dict[str, Any]:
    """Measure → metric, value, low, high and n, in the measure's own unit (shares from 0 to 1); differences if any."""
    gaps = differences(found)
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
    models = {found.model.name: found.figures}
    if found.against is not None:
        models[found.against.model.name] = found.against.figures
    for name, figures in models.items():
        out.print(visible(f"{name}, 95 % intervals over items:"), soft_wrap=True)
        out.print(_table(figures, found.declared))
    if gaps := differences(found):
        first, second = models
        out.print(visible(f"{first} minus {second}, 95 % intervals over items:"), soft_wrap=True)
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
