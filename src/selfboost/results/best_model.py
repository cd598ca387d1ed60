"""`DIR/model`: leads to the best model's folder, so that its path stays the same from one promotion to the next.

A relative symbolic link, so that the run can be moved as a whole; a small text file with the path where the disk has no
links. Anything else of this name is not a run's, and is left alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from selfboost import store
from selfboost.disk.files import FRESH, write_atomically

LINK = "model"
LONGEST = 4096
"""Most characters of a path."""


def is_ours(path: Path) -> bool:
    """Whether what is there, if anything, was written by a run."""
    return not os.path.lexists(path) or bool(_target(path))


def _target(path: Path) -> str:
    """Where a run's link or text file leads, relative to the run's folder; empty for anything else."""
    if path.is_symlink():
        found = Path(os.readlink(path)).as_posix()
    elif path.is_file() and path.stat().st_size <= LONGEST:
        found = path.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
    else:
        return ""
    parts = Path(found).parts
    inside = bool(parts) and parts[0] == store.STAGES and ".." not in parts
    return found if inside and "\n" not in found else ""


def best_model(root: Path) -> str:
    """The folder that `DIR/model` leads to, relative to the run's; empty if nothing was promoted."""
    found = _target(root / LINK)
    return found if found and (root / found).is_dir() else ""


def lead_to(root: Path, policy: str) -> str:
    """Let `DIR/model` lead to a policy's folder; to nothing, if that lies outside the run's folder.

    Returns a sentence if something else of that name is in the way.
    """
    path, fresh = root / LINK, root / f"{LINK}{FRESH}"
    if not (is_ours(path) and is_ours(fresh)):
        return f"{path}: not written by a run, so it is left as it is; the best model is {root / policy}"
    if Path(policy).parts[:1] != (store.STAGES,):
        path.unlink(missing_ok=True)
    elif _target(path) != policy:
        fresh.unlink(missing_ok=True)
        try:
            os.symlink(policy, fresh, target_is_directory=True)
            fresh.replace(path)
        except OSError:  # a disk without links
            path.unlink(missing_ok=True)
            write_atomically(path, f"{policy}\n".encode())
    return ""
