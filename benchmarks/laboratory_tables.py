"""The laboratory's tables, in Markdown, of rows alone: one line per cell."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar, cast

from benchmarks.laboratory_cells import ITERATIONS, Cell, Group
from benchmarks.laboratory_rows import ALL, Row, Rows, estimate, gains, last_gains

from selfboost.statistics import holm

ALPHA = 0.05
COMMANDS = "laboratory-commands.md"
"""The page that says which command makes a row."""
Compared = TypeVar("Compared", bound=Hashable)
"""What a gain is of."""
Column = tuple[str, str, str]
"""(heading, measure, format: `%` for a share in percent, else Python's)"""
PAIRS: tuple[Column, ...] = (
    ("own answers pass", "drafts", "%"),
    ("chosen candidates pass", "improved", "%"),
    ("pairs right", "right", "%"),
    ("pairs wrong", "wrong", "%"),
    ("prompts valid", "valid", "%"),
)
LABELS: tuple[Column, ...] = (
    ("own answers pass", "drafts", "%"),
    ("generated beats gold", "generated beats gold", "%"),
    ("judge says so", "generated beats gold, by the judge", "%"),
    ("judge ties", "ties, by the judge", "%"),
    ("generated chosen", "generated chosen", "%"),
    ("useful flips", "useful flips", "%"),
    ("harmful flips", "harmful flips", "%"),
    ("pairs right", "right", "%"),
    ("pairs wrong", "wrong", "%"),
)
MOTION: tuple[Column, ...] = (
    ("KL to the previous", "kl to previous", ".2f"),
    ("moved", "moved", ".3f"),
    ("at least", "moved, low", ".3f"),
    ("shift of gold", "gold shift", ".2f"),
    ("chosen", "chosen_logp", ".2f"),
    ("rejected", "rejected_logp", ".2f"),
    ("c", "noise_scale", ".2f"),
    ("β·m at the start", "noise_start", ".1f"),
    ("noise shift at the end", "noise_shift", ".1f"),
)


def results(rows: Rows, group: Group, titles: Mapping[str, str]) -> str:
    """Pass rate by iteration, the mean over run seeds; the last one's interval, and its gain over another cell.

    Brackets are Student's 95 % intervals over run seeds, each for itself. Gains that Holm's correction over all of the
    table's gains leaves significant at 5 % are bold. A cell with one run seed has no interval.
    """
    rounds = " | ".join(f"it. {t}" for t in range(1, ITERATIONS + 1))
    common = not any(cell.against for cell in group.cells)
    heading = f"last over {titles[group.against]}" if common else "last over"
    told = [f"| | {rounds} | last, by run seed | {heading} |", "|---|" + "---|" * (ITERATIONS + 2)]
    cells = [cell for cell in group.cells if rows.by_seed(cell.name, 1)]
    pairs = {cell.name: last_gains(rows, cell.name, cell.against or group.against) for cell in cells}
    bold = significant(pairs)
    for cell in cells:
        end = rows.last(cell.name)
        shares = [share(list(rows.by_seed(cell.name, t).values()), t == end) for t in range(1, end + 1)]
        shares += [""] * (ITERATIONS - end)
        each = " ".join(f"{100 * value:.1f}" for value in rows.by_seed(cell.name, end).values())
        gain = points(pairs[cell.name], bold=cell.name in bold)
        other = titles[cell.against or group.against]
        told.append(line(cell.title, cell.name, [*shares, each, f"{other}: {gain}" if gain and not common else gain]))
    return "\n".join(told)


def significant(gains: Mapping[Compared, Sequence[float]]) -> set[Compared]:
    """Which gains over run seeds Holm's correction over all of them leaves significant at 5 %; of one seed none is."""
    several = [name for name, each in gains.items() if len(each) > 1]
    adjusted = holm([cast(float, estimate(gains[name]).p) for name in several])
    return {name for name, p in zip(several, adjusted, strict=True) if p < ALPHA}


def share(each: Sequence[float], whole: bool) -> str:
    """The mean over run seeds in percent; with its interval if `whole` and there are several."""
    found = estimate(each)
    shown = f"{100 * found.value:.1f}"
    return f"{shown} [{100 * found.low:.1f}, {100 * found.high:.1f}]" if whole and len(each) > 1 else shown


def steps(rows: Rows, cells: Sequence[Cell]) -> str:
    """What each iteration gained over the one before it, in points: where a method stands still.

    Intervals are over run seeds, each for itself. Nothing where no cell has rows of it.
    """
    rounds = range(1, ITERATIONS + 1)
    told = ["| | " + " | ".join(f"it. {t}" for t in rounds) + " |", "|---|" + "---|" * ITERATIONS]
    for cell in cells:
        each = [gains(rows.by_seed(cell.name, t), rows.by_seed(cell.name, t - 1)) for t in rounds]
        if any(each):
            told.append(line(cell.title, cell.name, [points(gain) for gain in each]))
    return "\n".join(told) if told[2:] else ""


def insides(rows: Rows, cells: Sequence[Cell], columns: Sequence[Column]) -> str:
    """What happened inside, means over the seeds, iterations side by side; only columns that some cell has.

    Where cells have rows of different run seeds, a column says of which.
    """
    rounds, names = range(1, ITERATIONS + 1), [name for _, name, _ in columns]
    filled = [
        [[_cell(rows.get((cell.name, t, ALL, name)), form) for t in rounds] for cell in cells]
        for _, name, form in columns
    ]
    shown = [i for i, column in enumerate(filled) if any(any(values) for values in column)]
    each = [_seeds(rows, cell, names) for cell in cells]
    differ = len({*each} - {""}) > 1
    heads = [columns[i][0] for i in shown] + ["run seeds"] * differ
    told = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for number, cell in enumerate(cells):
        values = [_side_by_side(filled[i][number]) for i in shown]
        if any(values):
            told.append(line(cell.title, cell.name, values + [each[number]] * differ))
    return "\n".join(told) if shown else ""


def _seeds(rows: Rows, cell: Cell, measures: Sequence[str]) -> str:
    """The run seeds that a cell's means are of."""
    found = (rows.get((cell.name, t, ALL, name)) for t in range(1, ITERATIONS + 1) for name in measures)
    return next((" ".join(map(str, row.seeds)) for row in found if row), "")


def _side_by_side(values: Sequence[str]) -> str:
    """Gaps before the last value are marked."""
    last = max((i for i, value in enumerate(values) if value), default=-1)
    return " ".join(value or "–" for value in values[: last + 1])


def _cell(row: Row | None, form: str) -> str:
    if row is None:
        return ""
    return f"{100 * row.value:.0f}" if form == "%" else f"{row.value:{form}}"


def points(each: Sequence[float], *, bold: bool = False) -> str:
    """Gains of run seeds, in points."""
    if not each:
        return ""
    found = estimate(each)
    spread = f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}]" if len(each) > 1 else "(one seed)"
    shown = f"{100 * found.value:+.1f} {spread}"
    return f"**{shown}**" if bold else shown


def line(title: str, anchor: str, values: Sequence[str]) -> str:
    """A row of a table; its title links to the command that makes it."""
    return f"| [{title}]({COMMANDS}#{anchor.lower()}) | {' | '.join(values)} |"


def contender_anchor(name: str) -> str:
    """Where a method of the comparison is on the page of the commands."""
    return f"compared-{name}"
