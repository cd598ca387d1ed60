"""Opens files safely where others may have put something: no symbolic link is written through, no pipe is waited for.

What is broken is renamed to `NAME.broken-1`, `.broken-2` …: never deleted, never overwritten.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedRandom, BufferedReader, BufferedWriter
from pathlib import Path

from selfboost.system import NO_LINK, NO_WAIT, OWN

BROKEN = ".broken-"
"""Before the number in the name of what was set aside."""
BLOCK = 2**20
"""Bytes that are searched at a time."""
FRESH = ".new"
"""Ends the name of a file that is being written."""


def open_new(path: Path) -> BufferedWriter:
    """Create a file for writing; a plain file that an earlier try left there is removed first.

    Raises:
        ValueError: something else than a plain file is there.
    """
    if os.path.lexists(path):
        refuse_link(path)
        path.unlink()
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK | OWN, 0o666), "wb")


def open_to_add(path: Path) -> BufferedWriter:
    """Open a file for appending, creating it where there is none.

    Raises:
        ValueError: something else than a plain file is there.
    """
    refuse_link(path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_LINK | NO_WAIT | OWN
    return os.fdopen(_plain(path, flags), "ab")


def open_to_change(path: Path) -> BufferedRandom:
    """Open a file that is there for reading and writing at any place.

    Raises:
        FileNotFoundError: there is none.
        ValueError: something else than a plain file is there.
    """
    refuse_link(path)
    return os.fdopen(_plain(path, os.O_RDWR | NO_LINK | NO_WAIT | OWN), "r+b")


def open_to_read(path: Path) -> BufferedReader:
    """Open a file for reading; links are followed, a pipe or a device is refused.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no plain file.
    """
    return os.fdopen(_plain(path, os.O_RDONLY | NO_WAIT | OWN), "rb")


def read_bytes(path: Path) -> bytes:
    """Read a whole file, as `open_to_read`."""
    with open_to_read(path) as file:
        return file.read()


def cut_to_lines(path: Path) -> None:
    """Cut an incomplete last line off a file."""
    with open_to_change(path) as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - BLOCK)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n") + 1
            end = start + found
            if found:
                break
        if end < size:
            file.truncate(end)


def _plain(path: Path, flags: int) -> int:
    try:
        opened = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EISDIR):  # a pipe that nobody reads; a folder
            raise ValueError(f"{path}: is not a plain file; move it away") from None
        raise
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise ValueError(f"{path}: is not a plain file; move it away")
    return opened


def sync(file: BufferedWriter) -> None:
    """What was written survives a crash once this returns."""
    file.flush()
    os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, nothing between.

    Raises:
        ValueError: a symbolic link, or something else than a file, is in its place.
    """
    refuse_link(path)
    fresh = path.with_name(path.name + FRESH)
    with open_new(fresh) as file:
        file.write(data)
        sync(file)
    fresh.replace(path)


def refuse_link(path: Path) -> None:
    """Raise ValueError where something other than a plain file, such as a symbolic link, takes a file's place."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(kind):
        raise _is_a_link(path)
    if not stat.S_ISREG(kind):
        raise ValueError(f"{path}: is not a plain file; move it away")


def refuse_links_on_the_way(root: Path, folder: Path) -> None:
    """Raise ValueError where a folder inside `root`, or one between, is a symbolic link. `root` itself may be one."""
    for part in [folder, *folder.parents]:
        if part == root:
            return
        if part.is_symlink():
            raise _is_a_link(part)


def refuse_links_inside(folder: Path, spare: str = "") -> None:
    """Raise ValueError at the first symbolic link in a folder.

    What holds a file named `spare` is finished, only read, and spared: it may have been moved to another disk.
    """
    if folder.is_symlink():
        raise _is_a_link(folder)
    for place, folders, names in os.walk(folder):
        if spare and spare in names:
            folders.clear()
            continue
        for name in [*folders, *names]:
            path = Path(place, name)
            if path.is_symlink() and not (spare and (path / spare).exists()):
                raise _is_a_link(path)


def _is_a_link(path: Path) -> ValueError:
    return ValueError(
        f"{path}: is a symbolic link, and a run writes only to its own files; replace it by what it points to, "
        "or choose another folder with --into"
    )


def set_aside(path: Path) -> Path:
    """Rename what is broken to the first free `NAME.broken-N` beside it; where it is now."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}{BROKEN}{number}")):
        number += 1
    path.rename(aside)
    return aside
