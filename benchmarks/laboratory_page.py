"""What the laboratory's rows become: the tables of its page, its figures, and the page of the commands behind rows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import count, takewhile

from benchmarks import noise_regimes, noise_tables
from benchmarks.laboratory_cells import BASE, SYNPO_GROUPS, Cell, Group
from benchmarks.laboratory_compared import CONTENDERS, FIGURE, compared, ends, over_others, rates
from benchmarks.laboratory_compared import GOLDS as KINDS_OF_GOLD
from benchmarks.laboratory_figures import Point, dots, lines
from benchmarks.laboratory_groups import CELLS, GROUPS, TITLES
from benchmarks.laboratory_rows import Rows, drawn
from benchmarks.laboratory_self_play import GOLDS, SELF_PLAY_GROUPS
from benchmarks.laboratory_tables import (
    COMMANDS,
    LABELS,
    MOTION,
    PAIRS,
    contender_anchor,
    insides,
    results,
    steps,
)
from benchmarks.laboratory_ten import TEN_GROUP, ten

PAGE = "laboratory.md"
TABLE = re.compile(r"(<!-- table: (.+?) -->\n\n)((?:\|.*\n)+)")
"""A table of the page, with its name in a comment before it."""
RUN = "python -m benchmarks.laboratory --into DIR --seeds 0 1 2 3 4 --only"
COMMANDS_HEAD = f"""# The laboratory's rows and their commands

Every row of [the laboratory](laboratory.md)'s tables leads here: to the command that makes it, and to what it changes
of the demo's recipe beside {" and ".join(f"`{setting}`" for setting in BASE)} (of two values of one setting the later
holds). A command runs what DIR has no finished run of, goes on with a run that was killed, and renews laboratory.json,
the tables and the figures. `make laboratory` runs everything. This page, too, is written by these commands.
"""
COMPARED_HEAD = """## Every method on one skeleton

Each command runs a method with scarce, sloppy and full gold, in the first run seed at every rate of its grid and in the
others at the best. The settings are in `benchmarks/laboratory_compared.py`, and those of a run in its `recipe.toml`.
"""


def tables(rows: Rows) -> dict[str, str]:
    """Name → table in Markdown, of all that have rows."""
    found = {name: table for group in GROUPS for name, table in _tables_of(group, rows).items()}
    found["pairs"] = insides(rows, [cell for group in SYNPO_GROUPS for cell in group.cells], PAIRS)
    found["every method at its best rate"] = compared(rows)
    found["rates"] = rates(rows)
    found["SynPO over the others"] = over_others(rows, "synpo")
    found["every method, stopped by the validation prompts"] = compared(rows, stopped=True)
    return {name: table for name, table in found.items() if table}


def _tables_of(group: Group, rows: Rows) -> dict[str, str]:
    cells = [cell for cell in group.cells if rows.by_seed(cell.name, 1)]
    if not cells:
        return {}
    found = {group.name: ten(rows) if group is TEN_GROUP else results(rows, group, TITLES)}
    if group in SELF_PLAY_GROUPS:
        found[f"{group.name}: gained in each iteration, points"] = steps(rows, cells)
        found[f"{group.name}: labels, %, iterations side by side"] = insides(rows, cells, LABELS)
        found[f"{group.name}: how far it moved, nats"] = insides(rows, cells, MOTION)
    elif group not in SYNPO_GROUPS:
        found[f"{group.name}: the new pairs, %, iterations side by side"] = insides(rows, cells, PAIRS)
    return found


def renewed(page: str, made: Mapping[str, str]) -> str:
    """The page with its tables made anew, of these and of noise's rows; those that are not there stay as they are."""
    found = {**made, **noise_tables.tables(noise_regimes.read(noise_regimes.RESULTS))}
    return TABLE.sub(lambda match: f"{match[1]}{found[match[2]]}\n" if match[2] in found else match[0], page)


def figures(rows: Rows) -> dict[str, str]:
    """File → SVG, of the groups that have rows and a figure."""
    found = {group.file: _figure(group, rows) for group in GROUPS if group.figure != "none"}
    for gold in KINDS_OF_GOLD:
        shown = ends(rows, gold)
        found[FIGURE.format(gold=gold)] = dots(shown) if shown else ""
    return {file: drawing for file, drawing in found.items() if drawing}


def _figure(group: Group, rows: Rows) -> str:
    cells = [cell for cell in group.cells if rows.by_seed(cell.name, 1)]
    if not cells:
        return ""
    of = {name: _points(rows, name) for name in {*(cell.name for cell in cells), group.against}}
    if group.figure == "iterations":
        rounds = max(len(of[cell.name]) for cell in cells)
        series = {cell.title: of[cell.name] for cell in cells}
        return lines(series, "iteration (0: the initial model)", list(map(str, range(rounds))), first=1)
    if group.figure == "axis":
        over_axis: dict[str, list[Point]] = defaultdict(list)
        for cell in cells:
            if cell.line:
                over_axis[cell.line].append((0 if cell.at is None else cell.at, *of[cell.name][-1][1:]))
        return lines(over_axis, group.axis, group.ticks)
    first = [CELLS[group.against], *cells] if of[group.against] else cells
    return dots({TITLES[cell.name]: of[cell.name][-1][1:] for cell in first})


def _points(rows: Rows, cell: str) -> list[Point]:
    """The pass rate after each iteration, with its interval over run seeds; none of two, which are chance."""
    each = list(takewhile(bool, (list(rows.by_seed(cell, t).values()) for t in count())))
    return [(t, *drawn(values)) for t, values in enumerate(each)]


def commands() -> str:
    """The page of the commands: a heading for every cell, and one for every method of the comparison."""
    parts, told = [COMMANDS_HEAD], set[str]()
    for group in (*SYNPO_GROUPS, *SELF_PLAY_GROUPS, TEN_GROUP):
        parts.append(f"## {group.name.capitalize()}\n")
        parts += [part for cell in group.cells if cell.name not in told for part in _entry(cell)]
        told |= {cell.name for cell in group.cells}
    parts.append(COMPARED_HEAD)
    for name, contender in CONTENDERS.items():
        cells = " ".join(f"'{gold}-{name}-[0-9]*'" for gold in KINDS_OF_GOLD)
        parts.append(f"### {contender_anchor(name)}\n\n{contender.title}:\n\n```\n{RUN} {cells}\n```\n")
    return "\n".join(parts)


def _entry(cell: Cell) -> Iterator[str]:
    yield f"### {cell.name}\n\n{TITLES[cell.name]}:\n\n```\n{RUN} {cell.name}\n```\n"
    yield f"Settings: {', '.join(f'`{setting}`' for setting in [*cell.common, *cell.settings])}.\n"
    if cell.sloppy is not None:
        yield f"Its seed has {GOLDS} answers, {cell.sloppy:.0%} of them sloppy.\n"
    if cell.validation:
        yield f"It measures {cell.validation} validation prompts.\n"


def documents(rows: Rows, made: Mapping[str, str], page: str) -> Mapping[str, str]:
    """File → text, of all that `docs` has of the laboratory: its page, given as it is now, the commands, figures.

    `made`: the rows' tables.
    """
    return {PAGE: renewed(page, made), COMMANDS: commands(), **figures(rows)}
