"""A program of its own: runs the command in its arguments until that ends, or until standard input does.

Standard input is a pipe of the run's: when the run is killed, its server ends too, and gives its GPU back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

PATIENCE = 30.0
"""Seconds that the command has to end by itself."""


def watch(command: list[str]) -> int:
    """Run a command in this process's group; its exit code."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # meant for the command, whose end is this program's
    threading.Thread(target=_end_when_alone, daemon=True).start()
    return process.wait()


def _end_when_alone() -> None:
    sys.stdin.buffer.read()
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    code = watch(sys.argv[1:])
    os._exit(code if code >= 0 else 128 - code)  # the thread still reads
