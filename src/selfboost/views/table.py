"""What `selfboost show` prints: a run's state, the table of its iterations, and the reasons for its decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from selfboost.measures import WIN_RATE, MeasureRow
from selfboost.views.sentences import (
    Verdict,
    against_beside,
    best_model,
    broke_off,
    choices,
    drift_sentences,
    duration,
    gate_row,
    interval,
    number,
    reason,
    title_of,
    unfinished,
    verdict,
    worse_than_initial,
)
from selfboost.views.streams import console
from selfboost.views.summary import BesideSummary, IterationSummary, RunSummary, summary
from selfboost.views.visible import visible

WIDE = 116
"""At this width or more an interval is shown beside its value, otherwise below it."""
COLOURS = {"better": "green", "worse": "red", "": ""}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the table of iterations."""

    text: str = ""
    below: str = ""
    """Its interval."""
    verdict: Verdict = ""


def table_cells(run: RunSummary) -> tuple[list[str], list[list[Cell]]]:
    """The table as (headings, rows): one row per iteration, then the models beside."""
    measures = list(dict.fromkeys(name for entry in run.iterations for name in entry.measures))
    lengths = [name for name in measures if run.measure(name).unit == "tokens" and name != run.gate_measure]
    headings = ["iteration", f"held-out {title_of(run.gate)}", "gain on initial", "win rate on previous %"]
    headings += [*(title_of(run.measure(name)) for name in lengths), "pairs", "decision"]
    rows: list[list[Cell]] = []
    for entry in run.iterations:
        ends = [Cell(text=f"{entry.pairs:,}" if entry.iteration else ""), Cell(text=entry.decision)]
        rows.append([Cell(text=str(entry.iteration)), *_measured(run, entry, lengths), *ends])
    for entry in run.beside:
        rows.append([Cell(text=entry.name), *_measured(run, entry, lengths), Cell(), Cell(text="beside")])
    return headings, rows


def _measured(run: RunSummary, entry: IterationSummary | BesideSummary, lengths: Sequence[str]) -> list[Cell]:
    share, row, wins = run.gate.share, gate_row(run, entry), entry.measures.get(WIN_RATE)
    first = isinstance(entry, IterationSummary) and entry.iteration == 0
    gain = Cell(
        text=number(row.gain, share=share, signed=True, unit=False),
        below=interval(row.gained, share=share, signed=True),
        verdict=verdict(row.gained, run.gate),
    )
    return [
        Cell(text=number(row.value, share=share, unit=False), below=interval(row, share=share)),
        Cell() if first else gain,
        Cell(text=number(wins.value, share=True, unit=False), below=interval(wins, share=True)) if wins else Cell(),
        *(Cell(text=number(entry.measures.get(name, MeasureRow()).value)) for name in lengths),
    ]


def summary_table(run: RunSummary, width: int = 80) -> Table:
    """The table of a run's iterations, readable in `width` columns."""
    headings, rows = table_cells(run)
    between, padding = ("  ", 2) if width >= WIDE else ("\n", 1)
    cells = [[_shown(cell, between) for cell in row] for row in rows]
    columns = [[visible(heading), *(row[i].plain for row in cells)] for i, heading in enumerate(headings)]
    widths = _widths(columns, width - padding * len(columns))
    table = Table(box=None, padding=(0, padding, 0, 0), header_style="bold")
    for (heading, *_), room in zip(columns, widths, strict=True):
        side = "left" if heading in ("iteration", "decision") else "right"
        table.add_column(heading, justify=side, width=room, overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table


def _shown(cell: Cell, between: str) -> Text:
    return Text.assemble(
        (visible(cell.text), COLOURS[cell.verdict]), (between + cell.below if cell.below else "", "dim")
    )


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """Widths of columns (heading, cells): headings wrap first, then long names, then intervals between their ends."""
    lines = [max(len(line) for cell in cells for line in cell.split("\n")) for _, *cells in columns]
    whole = [max(len(column[0]), line) for column, line in zip(columns, lines, strict=True)]
    if sum(whole) <= room:
        return whole
    words = [max(len(word) for cell in column for word in cell.split()) for column in columns]
    widths = [max(both) for both in zip(lines, words, strict=True)]
    words[0] = len(columns[0][0])  # the name of a model beside may wrap anywhere
    for i in sorted(range(len(widths)), key=lambda i: (i > 0, words[i] - widths[i])):
        widths[i] = max(words[i], widths[i] - max(0, sum(widths) - room))
    return widths


def print_summary(root: Path) -> None:
    """Print the state, the table and the reasons for the decisions."""
    run = summary(root)
    out = console()
    memory = f"{run.peak_memory_bytes / 2**20:,.0f} MB at most"
    facts = [run.method, run.status, duration(run.seconds), memory]
    out.print(Text(visible("  ·  ".join(fact for fact in facts if fact)), style="bold"))
    for sentence in filter(None, [broke_off(run), *run.warnings, *run.said]):
        out.print(visible(sentence))
    for sentence in unfinished(run):
        out.print(visible(sentence))
    if not run.iterations:
        count = len(run.prepare) + len(run.further)
        out.print(f"Nothing has been measured yet; {count} stage{'' if count == 1 else 's'} finished.")
        return
    out.print()
    out.print(summary_table(run, out.width))
    out.print()
    if worse := worse_than_initial(run):
        out.print(visible(f"{worse}."), style="bold red")
    for entry in run.iterations[1:]:
        out.print(visible(f"{entry.iteration} {entry.decision}: {reason(run, entry)}"))
    beside = [against_beside(run, entry) for entry in run.beside]
    for sentence in [*drift_sentences(run), *choices(run.iterations), *beside]:
        out.print(visible(sentence))
    out.print(visible(best_model(run)))
    out.print("Brackets are 95 % intervals over prompts; one run with one seed.", style="dim")
