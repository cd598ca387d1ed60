"""A folder that appears complete or not at all: written beside its place, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from selfboost.disk.files import open_to_read


@contextmanager
def new_folder(target: Path) -> Generator[Path]:
    """An empty folder to write to, which becomes `target` when the block ends, and is removed if it fails.

    A killed process leaves it beside the target, under a name that begins with a dot.

    Raises:
        ValueError: something of that name exists, or the folder that it would lie in does not.
    """
    target = target.absolute()
    if os.path.lexists(target):
        raise ValueError(f"{target}: already exists; choose another folder with --to")
    if not target.parent.is_dir():
        raise ValueError(f"{target}: there is no folder {target.parent}; create it first")
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    try:
        yield fresh
        fresh.chmod(0o755)  # mkdtemp's folders are the user's alone
        if os.path.lexists(target):
            raise ValueError(f"{target}: was created by someone else meanwhile; choose another folder with --to")
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def copy_files(folder: Path, into: Path, *, without: str = "") -> None:
    """Copy the plain files of a folder and of its folders, except the one named `without`.

    Raises:
        ValueError: there is a symbolic link or a device among them.
    """
    into.mkdir(exist_ok=True)
    for path in sorted(folder.iterdir()):
        if path.name == without:
            continue
        if path.is_symlink():
            raise ValueError(f"{path}: is a symbolic link, which no training writes; it is not exported")
        if path.is_dir():
            copy_files(path, into / path.name)
        else:
            with open_to_read(path) as source, (into / path.name).open("xb") as copy:
                shutil.copyfileobj(source, copy, 2**22)
