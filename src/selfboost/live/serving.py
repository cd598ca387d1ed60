"""Serves the page on this machine's loopback address, and nowhere else, until Ctrl-C."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from selfboost.data.gold import gold_answers
from selfboost.extras import require
from selfboost.live.app import make_app
from selfboost.live.runs import Check
from selfboost.live.watcher import Watcher

HOST = "127.0.0.1"
"""The only address that is bound."""


def serve(folders: Sequence[Path], port: int, gold: Sequence[Path], check: Check, say: Callable[[str], None]) -> None:
    """Serve until interrupted; `say` is given the page's address once it can be opened. Port 0: any that is free.

    Raises:
        ValueError: a folder cannot be read, the port is taken, or the extra is not installed.
    """
    known = gold_answers(gold)
    with listen(port) as listening, Watcher(folders, check) as watcher:
        server = make_server(watcher, known)
        say(f"http://{HOST}:{listening.getsockname()[1]}/")
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


def make_server(watcher: Watcher, gold: Mapping[str, str]) -> Any:
    """A uvicorn server of the page.

    Raises:
        ValueError: the extra is not installed.
    """
    uvicorn = require("uvicorn", extra="live", setting="selfboost view")
    settings = uvicorn.Config(
        make_app(watcher, gold),
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
        server_header=False,
        ws="none",
    )
    return uvicorn.Server(settings)


def listen(port: int) -> socket.socket:
    """A socket on the loopback address.

    Raises:
        ValueError: the port is taken.
    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise ValueError(
            f"--port {port}: cannot be used on {HOST} ({error.strerror}); give another, or 0 for any that is free"
        ) from error
    return listening
