"""Which runs the given folders hold: each is a run, or holds runs up to two levels deep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from selfboost import results

DEPTH = 2
"""Levels of folders below a given one in which runs are looked for."""
MOST = 200
"""Runs on one page."""
Check = Callable[[Path], None]
"""Raises ValueError where a run's folder cannot be read safely."""


def find_runs(folders: Sequence[Path]) -> dict[str, Path]:
    """Name → folder of each run, in the order given. Names are unique and are all that a browser ever gives.

    Raises:
        ValueError: a folder does not exist, or there are too many runs.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder}: is not a folder; give a run's folder, or one that holds runs")
        for name, root in _inside(folder, folder.resolve().name or "run", DEPTH):
            if root.resolve() not in {known.resolve() for known in found.values()}:
                found[_free(name, found)] = root
    if len(found) > MOST:
        raise ValueError(f"{len(found):,} runs are too many for one page; allowed: at most {MOST}")
    return found


def _inside(folder: Path, name: str, depth: int) -> Iterator[tuple[str, Path]]:
    if results.holds_run(folder):
        yield name, folder
    elif depth:
        for each in sorted(folder.iterdir()):
            if each.is_dir() and not each.is_symlink():
                yield from _inside(each, f"{name}/{each.name}", depth - 1)


def _free(name: str, taken: Mapping[str, Path]) -> str:
    """The name, with a number if another run has it."""
    numbered = (f"{name} ({number})" for number in range(2, MOST + 3))
    return name if name not in taken else next(free for free in numbered if free not in taken)
