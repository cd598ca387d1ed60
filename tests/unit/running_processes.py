"""Whether processes that a test started, or whose parents it started, have ended."""

import time
from collections.abc import Sequence

import psutil


def all_end(processes: Sequence[int], seconds: float) -> bool:
    """Whether all of them end within so many seconds."""
    deadline = time.monotonic() + seconds
    while any(map(_running, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(_running, processes))


def _running(process: int) -> bool:
    """Whether it has not ended; who inherits it may not have read its status yet."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
