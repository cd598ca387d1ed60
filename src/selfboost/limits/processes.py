"""A function called in another process, which its own alarm kills: the limit for threads that no alarm reaches.

The process is started at the first call and kept. Arguments and results are plain JSON data.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfboost.system import ALARMS

PACKAGES = str(Path(__file__).parents[2])
"""Where `selfboost` is imported from."""
SERVE = "from selfboost.limits.worker import serve; serve()"

_lock = threading.Lock()
_workers: dict[int, subprocess.Popen[bytes]] = {}
"""This process's id → its worker: one that a fork inherits is its parent's."""


def call(function: Callable[..., Any], *arguments: Any, seconds: float, sentence: str) -> Any:
    """What a function of this package returns, called in another process.

    Raises:
        ValueError: with this sentence after too many seconds; else what the function said when it failed.
    """
    task = {"module": function.__module__, "name": function.__name__, "arguments": arguments, "seconds": seconds}
    with _lock:
        worker = _worker()
        assert worker.stdin is not None
        assert worker.stdout is not None
        clock = threading.Timer(seconds, worker.kill)  # where the worker cannot set an alarm itself
        if not ALARMS:
            clock.start()
        try:
            worker.stdin.write(json.dumps(task).encode() + b"\n")
            worker.stdin.flush()
            reply = worker.stdout.readline()
        except OSError:  # a broken pipe
            reply = b""
        finally:
            clock.cancel()
        if not reply.endswith(b"\n"):
            _stop()
            raise ValueError(sentence)
    answer: dict[str, Any] = json.loads(reply)
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer["value"]


def _worker() -> subprocess.Popen[bytes]:
    own = _workers.get(os.getpid())
    if own is None or own.poll() is not None:
        path = os.pathsep.join([PACKAGES, *filter(None, [os.environ.get("PYTHONPATH")])])
        own = subprocess.Popen(
            [sys.executable, "-P", "-c", SERVE],  # -P: no module of the working directory
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for this process alone
        )
        _workers[os.getpid()] = own
    return own


@atexit.register
def _stop() -> None:
    own = _workers.pop(os.getpid(), None)
    if own is not None:
        own.kill()
        own.communicate()
