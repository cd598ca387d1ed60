"""Connections between launched processes that carry nothing: where one breaks, a process has gone.

Collectives notice a lost process only while they run, those of NCCL not even then; a run may sample for hours between
two trainings. The conductor holds a connection to every follower, and each end watches it in a thread.
"""

from __future__ import annotations

import os
import secrets
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

from selfboost.train.devices.launched import Lost

GOODBYE = b"."
SECRET_BYTES = 16
PATIENCE = 2.0
"""Seconds in which a collective that runs may notice the loss itself."""
LAST = 20.0
"""Seconds after which a process that still waits for a lost one, in a library's code, is ended."""
SILENCE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""When a machine that vanished without a word counts as lost: after a minute."""


class Lifelines:
    """This process's connections to the conductor, or to all followers."""

    def __init__(self, connections: Sequence[socket.socket], sentence: str) -> None:
        self.connections, self.sentence = list(connections), sentence
        self.lost = self._left = self._told = False
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupted)
        threading.Thread(target=self._watch, daemon=True).start()

    def leave(self) -> None:
        """From now on the others may go."""
        self._left = True
        for connection in self.connections:
            try:
                connection.sendall(GOODBYE)
            except OSError:
                continue  # it has gone already

    def _watch(self) -> None:
        open_ones = list(self.connections)
        while open_ones:
            for connection in select.select(open_ones, (), ())[0]:
                open_ones.remove(connection)
                if not _said_goodbye(connection) and not self._left:
                    self.lost = True
                    self._tell_main_thread()

    def _tell_main_thread(self) -> None:
        time.sleep(PATIENCE)
        if self._left or self._told:
            return
        self._told = True
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(LAST)
        print(f"selfboost: {self.sentence}", file=sys.stderr, flush=True)
        os._exit(1)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        """SIGINT: from the thread that watches, or Ctrl-C."""
        if self._told:
            raise Lost(self.sentence)
        if callable(self._before):
            self._before(number, frame)


def _said_goodbye(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == GOODBYE
    except OSError:
        return False


class Reception:
    """The conductor's end, before the followers are there."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("", 0))
        self.secret = secrets.token_bytes(SECRET_BYTES)

    @property
    def place(self) -> tuple[int, bytes]:
        """Port and secret: what followers need to connect."""
        return self.socket.getsockname()[1], self.secret

    def accept(self, followers: int, seconds: float) -> list[socket.socket]:
        """Connections to all followers.

        Raises:
            Lost: they do not come.
        """
        found: list[socket.socket] = []
        end = time.monotonic() + seconds
        while len(found) < followers:
            self.socket.settimeout(max(0.1, end - time.monotonic()))
            try:
                connection, _ = self.socket.accept()
                connection.settimeout(10)
                known = secrets.compare_digest(connection.recv(SECRET_BYTES, socket.MSG_WAITALL), self.secret)
            except OSError as error:
                if time.monotonic() > end:
                    raise Lost(
                        f"only {len(found)} of {followers} followers connected to {socket.gethostname()}"
                    ) from error
                continue
            if known:
                found.append(_quiet(connection))
        self.socket.close()
        return found


def connect(host: str, place: tuple[int, bytes], seconds: float) -> socket.socket:
    """A follower's connection to its conductor.

    Raises:
        Lost: it cannot be reached.
    """
    try:
        made = socket.create_connection((host, place[0]), timeout=seconds)
        made.sendall(place[1])
    except OSError as error:
        raise Lost(f"{socket.gethostname()} does not reach the conductor at {host}:{place[0]} ({error})") from error
    return _quiet(made)


def _quiet(connection: socket.socket) -> socket.socket:
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in SILENCE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection
