"""The folder that all processes of a launch must see: checked by a file that the conductor writes and all read."""

from __future__ import annotations

import socket
import time
from functools import partial
from pathlib import Path
from uuid import uuid4

from selfboost.train.devices.launched import launched
from selfboost.train.devices.parallel import World, conduct

SECONDS = 10
"""How long a network disk may take to show a new file."""


def require_shared(folder: Path) -> None:
    """Let every process that a launcher started look into a folder; nothing to do where there is one process.

    Raises:
        ValueError: some do not see it; names them, on every process.
    """
    if not launched():
        return
    token = folder.absolute() / f".processes-{uuid4().hex}"
    token.touch()
    try:
        look = partial(_look, token=token)
        conduct(1, look, look)
    finally:
        token.unlink(missing_ok=True)


def _look(world: World, token: Path) -> None:
    end = time.monotonic() + SECONDS
    while not token.exists() and time.monotonic() < end:
        time.sleep(0.1)
    found = world.gather((token.exists(), socket.gethostname()))
    blind = [f"process {rank} on {host}" for rank, (sees, host) in enumerate(found) if not sees]
    if blind:
        raise ValueError(
            f"{token.parent}: the folder that process 0 on {found[0][1]} writes to is not seen by {', '.join(blind)}; "
            "processes on several machines need it under the same path on a shared disk: choose such a folder with "
            "--into"
        )
