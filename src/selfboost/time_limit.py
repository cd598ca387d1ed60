"""A time limit on code of strangers that may never end: a regular expression that backtracks, a template that loops.

Works by an alarm signal, which Python's regular expressions and long integers heed too; in the main thread alone, where
every command runs. Elsewhere there is no limit.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def time_limit(seconds: float, sentence: str) -> Generator[None]:
    """End the block with an error once it has taken this many seconds of real time.

    Raises:
        ValueError: with this sentence.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: object) -> NoReturn:
        raise ValueError(sentence)

    before = signal.signal(signal.SIGALRM, stop)
    began = time.monotonic()
    left, every = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)  # again, should the block swallow the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)
        if left:  # someone else's alarm
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, left - (time.monotonic() - began)), every)
