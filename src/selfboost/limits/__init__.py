"""Limits for what strangers have written, such as a pattern or a chat template: seconds and memory, in any thread.

In the main thread an alarm ends it. An alarm reaches no other thread, so there the work is done by another process.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from typing import NoReturn

from selfboost.system import ALARMS, memory_bounded

MEMORY = 2 << 30
"""Bytes that what strangers have written may take in addition to what is held already."""


def has_alarm() -> bool:
    """Whether an alarm can end what this thread does."""
    return ALARMS and threading.current_thread() is threading.main_thread()


@contextmanager
def limited(seconds: float, sentence: str | Callable[[], str], *, memory: bool = True) -> Generator[None]:
    """End the block once it has taken this many seconds; with `memory` it may not take more than `MEMORY` either.

    Main thread only. Works by an alarm signal, which regular expressions and long integers heed too. Memory is limited
    on Linux alone.

    Raises:
        ValueError: with this sentence, after too many seconds; or it takes too much memory.
    """
    assert has_alarm(), "elsewhere another process does the work: selfboost.limits.processes"

    def stop(_signal: int, _frame: object) -> NoReturn:
        raise ValueError(sentence if isinstance(sentence, str) else sentence())

    before = signal.signal(signal.SIGALRM, stop)
    began = time.monotonic()
    left, every = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)  # again, should the block swallow the first
    try:
        with memory_limited() if memory else nullcontext():
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)
        if left:  # someone else's alarm
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, left - (time.monotonic() - began)), every)


@contextmanager
def memory_limited() -> Generator[None]:
    """Let this process take at most `MEMORY` more than it has, on Linux.

    Raises:
        ValueError: the block takes more.
    """
    try:
        with memory_bounded(MEMORY):
            yield
    except MemoryError as error:
        raise ValueError(f"it took more than {MEMORY >> 30} GiB of memory") from error
