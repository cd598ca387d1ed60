"""What differs between Linux, macOS and Windows: locks of files, memory, other processes, how files are opened.

The only module that asks which system it runs on for these. The Windows branches have been read, not run: no machine
with Windows was at hand. Left out on Windows: a lock on the folder itself, which that system cannot hold.
"""

from __future__ import annotations

import os
import sys

NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)
"""Flag of `os.open`: refuse a symbolic link."""
NO_WAIT: int = getattr(os, "O_NONBLOCK", 0)
"""Flag of `os.open`: do not wait for whoever writes a pipe."""
OWN: int = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of `os.open`: no started process inherits the file, and no line end is translated."""

if sys.platform == "win32":
    import msvcrt

    import psutil

    ALARMS = False
    """Whether a process can set an alarm that ends what it does."""
    LOCKED_BYTE = 1 << 30
    """Far behind the text, which others read: Windows keeps them from bytes that are locked."""

    def open_folder(path: str | os.PathLike[str]) -> int | None:
        """A folder, opened to lock it; None where the system cannot."""
        del path
        return None

    def lock_file(opened: int) -> None:
        """Take the lock of an open file for this process, without waiting; raises OSError."""
        os.lseek(opened, LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(opened, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(opened, 0, os.SEEK_SET)

    def peak_memory() -> int:
        """Peak memory of this process, in bytes."""
        return int(psutil.Process().memory_info().peak_wset)

    def total_memory() -> int:
        """Memory of this machine, in bytes."""
        return int(psutil.virtual_memory().total)

    def is_running(process: int) -> bool:
        """Whether there is a process of this number; asking sends it nothing."""
        return psutil.pid_exists(process)

else:
    import fcntl
    import resource

    ALARMS = True

    def open_folder(path: str | os.PathLike[str]) -> int | None:
        """A folder, opened to lock it; None where the system cannot."""
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | OWN)

    def lock_file(opened: int) -> None:
        """Take the lock of an open file for this process, without waiting; raises OSError."""
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def peak_memory() -> int:
        """Peak memory of this process, in bytes."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def total_memory() -> int:
        """Memory of this machine, in bytes."""
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def is_running(process: int) -> bool:
        """Whether there is a process of this number; asking sends it nothing."""
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            pass
        return True
