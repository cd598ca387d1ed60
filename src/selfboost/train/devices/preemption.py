"""A wish to end a training: SIGTERM, which Slurm, Kubernetes and `torchrun` send before they end a process, or Ctrl-C.

The training stops after the step, and saves its state if it saves any. A second signal stops it at once.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

SAVING = "selfboost: interrupted; the training's state is saved after this step (Ctrl-C again stops at once)"
STOPPING = "selfboost: interrupted; the training stops after this step (Ctrl-C again stops at once)"


@contextmanager
def asked_to_stop(*, saves: bool) -> Generator[Callable[[], bool]]:
    """While it lasts, a first SIGTERM or SIGINT is only noted; yields what says whether it came.

    `saves`: whether the training saves its state.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    noted: list[int] = []
    interrupt = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        try:
            if number == signal.SIGINT and callable(interrupt):
                interrupt(number, frame)  # it may stand for something else, such as a lost process
        except KeyboardInterrupt:
            if not noted:
                _say(SAVING if saves else STOPPING)
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    handled = [signal.SIGTERM, *([signal.SIGINT] if callable(interrupt) else [])]  # who ignores it goes on doing so
    before = {number: signal.signal(number, note) for number in handled}
    try:
        yield lambda: bool(noted)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(sentence: str) -> None:
    """From a thread: a signal may have come while this one was writing."""
    threading.Thread(target=lambda: print(sentence, file=sys.stderr, flush=True), daemon=True).start()
