"""Processes that a benchmark's runs share, none of which outlives it."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process


def pool(jobs: int, start: str | None = None) -> ProcessPoolExecutor:
    """So many processes; `start`: multiprocessing's way to start one, by default this system's."""
    return ProcessPoolExecutor(jobs, get_context(start), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """End this process once the one that started it has ended, however it ended: a run goes on where it stopped."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
