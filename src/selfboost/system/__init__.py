"""What differs between Linux, macOS and Windows: locks of files, memory, other processes, how files are opened.

The only module that asks which system it runs on for these. The Windows branches have been read, not run: no machine
with Windows was at hand. Left out on Windows: a lock on the folder itself, which that system cannot hold.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import BufferedWriter
from pathlib import Path

import psutil

NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)
"""Flag of `os.open`: refuse a symbolic link."""
NO_WAIT: int = getattr(os, "O_NONBLOCK", 0)
"""Flag of `os.open`: do not wait for whoever writes a pipe."""
OWN: int = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of `os.open`: no started process inherits the file, and no line end is translated."""

if sys.platform == "win32":
    import msvcrt

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
        return _peak_of(psutil.Process())

    def _peak_of(process: psutil.Process) -> int:
        return int(process.memory_info().peak_wset)

    def total_memory() -> int:
        """Memory of this machine, in bytes."""
        return int(psutil.virtual_memory().total)

    def is_running(process: int) -> bool:
        """Whether there is a process of this number; asking sends it nothing."""
        return psutil.pid_exists(process)

    def yield_to_others() -> None:
        """Let other processes go first."""
        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)

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

    def _peak_of(process: psutil.Process) -> int:
        """Peak memory in bytes; on macOS, which does not tell another's, what it holds now."""
        with suppress(OSError), open(f"/proc/{process.pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
        return int(process.memory_info().rss)

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

    def yield_to_others() -> None:
        """Let other processes go first."""
        os.nice(5)


def give_back_freed_memory() -> None:
    """Hand freed memory back to the system, where the C library would keep it: glibc alone does and can be told."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def usable_cores() -> int:
    """CPU cores that this process may use: those it is bound to, or fewer where its container has a quota of time."""
    return quota_of_cores() or _bound_cores()


def quota_of_cores() -> int:
    """CPU cores that a container's quota leaves of those this process is bound to; 0 where it takes none away."""
    quota = cpu_quota()
    return quota if quota < _bound_cores() else 0


def _bound_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(groups: str = "/sys/fs/cgroup") -> int:
    """CPU cores whose time a Linux container may take, rounded up; 0: no quota. `groups`: where the kernel says so."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # versions 2 and 1
        with suppress(OSError, ValueError, ZeroDivisionError):
            words = [word for name in names for word in Path(groups, name).read_text(encoding="ascii").split()]
            quota, period = map(int, words)  # "max" and -1: none
            return max(0, -(-quota // period))
    return 0


def make_room(file: BufferedWriter, size: int) -> None:
    """Give a new file its size; where the system can, its place on the disk is reserved too."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


@contextmanager
def memory_bounded(more: int) -> Generator[None]:
    """Let this process take at most this many bytes more than it has, on Linux alone; beyond it raises MemoryError."""
    if sys.platform != "linux":
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = _mapped_memory()
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    if not mapped or any(limit <= mapped + more for limit in known):
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (mapped + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _mapped_memory() -> int:
    """Bytes that this process has mapped; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            pages = file.read(100).split()[0]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


class _Seen:
    """The most memory that this process and those it started were seen to have taken."""

    peak = 0


def peak_memory_of_all() -> int:
    """Peak memory of this process and of those it has started, summed, in bytes.

    Those that have ended count if it was asked while they ran. More than all ever took at once, unless they peaked
    together and share no page.
    """
    peak = peak_memory()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            peak += _peak_of(process)
    _Seen.peak = max(_Seen.peak, peak)
    return _Seen.peak
