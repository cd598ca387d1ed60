"""SIGTERM during a training: Slurm, Kubernetes and `torchrun` send it some seconds before they end a process.

The training saves its state after the step and stops. A second signal stops it at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def asked_to_stop() -> Generator[Callable[[], bool]]:
    """While it lasts, a first SIGTERM is only noted; yields what says whether it came."""
    noted: list[int] = []

    def note(number: int, _frame: object) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: bool(noted)
    finally:
        signal.signal(signal.SIGTERM, before)
