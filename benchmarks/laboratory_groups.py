"""All of the laboratory's groups and cells; what runs them and what shows them both look here."""

from __future__ import annotations

from benchmarks.laboratory_cells import SYNPO_GROUPS
from benchmarks.laboratory_compared import COMPARED_GROUPS
from benchmarks.laboratory_self_play import SELF_PLAY_GROUPS
from benchmarks.laboratory_ten import TEN_GROUP

GROUPS = (*SYNPO_GROUPS, *SELF_PLAY_GROUPS, TEN_GROUP, *COMPARED_GROUPS)
CELLS = {cell.name: cell for group in GROUPS for cell in group.cells}
"""Name → cell; groups share cells, whose titles and places differ from group to group."""
TITLES = {cell.name: cell.title for group in reversed(GROUPS) for cell in group.cells}
"""Name → title in the first group that has the cell."""
