"""One writer at a time in a run's folder: its file `lock` is locked and, where the system can, the folder itself.

The kernel frees both locks when their process ends, in whatever way. Deleting the file frees nothing, and the holder
notices it before it seals anything.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from selfboost.disk.files import open_to_read, refuse_link
from selfboost.system import NO_LINK, NO_WAIT, OWN, lock_file, open_folder

NAME = "lock"
MOST = 1000
"""Bytes that are read of who holds it."""


class LockLost(ValueError):
    """The lock's file was deleted or replaced while it was held: nothing more may be written."""


@dataclass(frozen=True)
class _Held:
    folder: os.stat_result
    file: os.stat_result


_held: dict[Path, _Held] = {}
"""The locks that this process holds, by the absolute path of their folders."""


@contextmanager
def lock(root: Path) -> Generator[None, None, None]:
    """Hold the run's folder for one writer; makes the folder where there is none.

    Raises:
        ValueError: another process is writing this run; says which.
    """
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root}: is a file; a run needs a folder (--into)")
    root.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        folder = open_folder(root)
        if folder is not None:
            opened.callback(os.close, folder)
            _take(folder, root)  # a file system that locks no folders, such as NFS, leaves it to the file alone
        refuse_link(root / NAME)
        file = os.open(root / NAME, os.O_RDWR | os.O_CREAT | NO_LINK | NO_WAIT | OWN, 0o666)
        opened.callback(os.close, file)
        if not _take(file, root):
            raise ValueError(f"{root / NAME}: this file system locks no files; choose another folder with --into")
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()} since {now}\n".encode())
        place = root.absolute()
        _held[place] = _Held(os.fstat(folder) if folder is not None else root.stat(), os.fstat(file))
        opened.callback(_held.pop, place)
        yield


def check_held(root: Path) -> None:
    """Raise LockLost where this process locked the folder and the lock's file, or the folder, is not what it was.

    Does nothing for a folder that this process did not lock.
    """
    held = _held.get(root.absolute())
    if held is None:
        return
    for path, known in ((root, held.folder), (root / NAME, held.file)):
        try:
            same = os.path.samestat(path.stat(), known)
        except OSError:
            same = False
        if not same:
            raise LockLost(
                f"{path}: was deleted or replaced while this run was writing its folder, so that another run may be "
                "writing there too; stopped; see that no other run is, then rerun the same command"
            )


def owner(root: Path) -> str:
    """Who holds or last held a folder's lock, as `process N on HOST since TIME`; empty where nothing says so."""
    with suppress(OSError, ValueError), open_to_read(root / NAME) as file:
        return file.read(MOST).decode(errors="replace").strip()
    return ""


def _take(opened: int, root: Path) -> bool:
    """Lock what is opened; whether the file system can lock it at all."""
    try:
        lock_file(opened)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise ValueError(
            f"{root}: another run is writing this folder ({owner(root) or 'unknown owner'}); "
            "wait for it, stop it, or choose another folder with --into"
        ) from None
    return True
