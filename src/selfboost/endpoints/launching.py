"""A server that is started by a command and ended with everything that it started; no shell reads the command."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from selfboost.endpoints import Endpoint
from selfboost.endpoints.connection import check_ready
from selfboost.endpoints.serving import served_models

WATCHER = Path(__file__).with_name("watcher.py")
LAUNCH = "launch"
"""The setting, of an engine or a scorer, that names a server's command."""
PAUSE = 0.2
"""Seconds between two looks at a server that is starting."""
PATIENCE = 30.0
"""Seconds that a server has to end by itself."""
QUOTED_LINES, QUOTED_CHARACTERS = 6, 600
"""How much of the end of a server's log an error quotes."""
STILL = 5.0
"""Seconds within which a server that is up replies that it is."""


class StartedServer:
    """A server that was started by a command."""

    def __init__(self, words: Sequence[str], port: int, setting: str) -> None:
        """`setting`: what named the command, for errors."""
        self.setting = setting
        self.url = f"http://127.0.0.1:{port}/v1"
        handle, log = tempfile.mkstemp(prefix="selfboost-server-", suffix=".log")
        self._log = Path(log)
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(WATCHER), *words],
            stdin=subprocess.PIPE,
            stdout=handle,
            stderr=subprocess.STDOUT,
            env={"VLLM_NO_USAGE_STATS": "1", **os.environ},
            start_new_session=True,  # Ctrl-C is for this process alone
        )
        os.close(handle)

    @property
    def last_words(self) -> str:
        """The end of its log, as one line."""
        return end_of_log(self._log.read_bytes())

    def require_alive(self) -> None:
        """Check that it has not ended by itself.

        Raises:
            ValueError: it has; quotes the end of its log.
        """
        code = self._process.poll()
        if code is not None:
            raise ValueError(
                f"the server that {self.setting} started ended with code {code}; its log: {self.last_words}"
            )

    def wait_until_up(self, endpoint: Endpoint, seconds: float) -> None:
        """Wait until it lists its models.

        Raises:
            ValueError: it ended, or took too long; quotes the end of its log.
        """
        deadline = time.monotonic() + seconds
        check_ready(endpoint)
        brief = replace(endpoint, timeout_seconds=STILL, retries=0)
        while not _is_up(brief):
            self.require_alive()
            if time.monotonic() > deadline:
                more = "; raise start_seconds if it needs longer" if self.setting == LAUNCH else ""
                raise ValueError(
                    f"the server that {self.setting} started was not up after {seconds:g} s{more}; its log: "
                    f"{self.last_words}"
                )
            time.sleep(PAUSE)

    def end(self) -> None:
        """End it, and all processes that it started."""
        for kind in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, kind)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._log.unlink(missing_ok=True)


def end_of_log(content: bytes) -> str:
    """The last lines of what a program wrote, as one line."""
    lines = content[-20_000:].decode("utf-8", "replace").splitlines()
    said = " | ".join(line.strip() for line in lines if line.strip()).split(" | ")[-QUOTED_LINES:]
    return " | ".join(said)[-QUOTED_CHARACTERS:] or "nothing"


@contextmanager
def started(
    command: Sequence[str],
    values: Mapping[str, str],
    endpoint: Callable[[str], Endpoint],
    seconds: float,
    setting: str = LAUNCH,
) -> Generator[StartedServer]:
    """A server that is up, ended at the end; `{port}` and the names of `values` in the command's words are replaced.

    `endpoint`: makes the endpoint of a URL; `setting`: what named the command, for errors.

    Raises:
        ValueError: the program cannot be started, or the server did not come up.
    """
    if not hasattr(os, "killpg"):
        more = "; start it and give url" if setting == LAUNCH else ""
        raise ValueError(f"{setting}: servers can be started on Linux and macOS alone{more}")
    port = _free_port()
    words = [filled(word, {**values, "port": str(port)}) for word in command]
    require_program(setting, words[0])
    server = StartedServer(words, port, setting)
    try:
        server.wait_until_up(endpoint(server.url), seconds)
        yield server
    finally:
        server.end()


def require_program(setting: str, program: str) -> None:
    """Check that a program can be started.

    Raises:
        ValueError: there is none of that name.
    """
    if shutil.which(program) is None:
        raise ValueError(f"{setting}: there is no program {program!r} on this machine; install it or give its path")


def filled(word: str, values: Mapping[str, str]) -> str:
    """A word of a command with `{name}` replaced."""
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _is_up(endpoint: Endpoint) -> bool:
    try:
        return bool(served_models(endpoint))
    except ValueError:
        return False
