"""An interactive shell in a terminal of its own: what a line becomes when a person types it, tabs included."""

import fcntl
import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE = 20.0
"""Seconds that a shell has for a line."""
PRINTED = re.compile(r"\[\[([^$\]]*)\]\]")
"""What is printed, not the line that prints it, which a terminal shows too."""


def typed(shell: Sequence[str], start: str, lines: Sequence[str], folder: Path, said: Mapping[str, str]) -> list[str]:
    """Type lines in a shell, one after the other; what it prints between `[[` and `]]` for each.

    `start`: what is typed first, which must print `[[ready]]`; `said`: environment variables.
    """
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        list(shell),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=folder,
        env=dict(said),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # fish wants the terminal for itself
    )
    os.close(terminal)
    try:
        assert _answer(controller, start) == "ready"
        return [_answer(controller, line) for line in lines]
    finally:
        process.kill()
        process.wait()
        os.close(controller)


def _answer(controller: int, line: str) -> str:
    """What is printed after a line."""
    os.write(controller, f"{line}\r".encode())
    text, deadline = "", time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if select.select([controller], [], [], 0.1)[0]:
            text += os.read(controller, 65536).decode(errors="replace")
        if found := PRINTED.search(text):
            return found[1]
    raise AssertionError(f"{line!r}: nothing was printed; on the screen: {text!r}")
