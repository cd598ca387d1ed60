"""The other process: calls one function after the other, each under an alarm that kills it and with little memory."""

from __future__ import annotations

import importlib
import json
import signal
import sys
from typing import Any

from selfboost.limits import memory_limited
from selfboost.system import ALARMS


def serve() -> None:
    """Answer tasks until there are no more: one line of JSON each, read from stdin and written to stdout."""
    replies = sys.stdout.buffer
    sys.stdout = sys.stderr  # what a function prints is no reply
    for line in sys.stdin.buffer:
        task: dict[str, Any] = json.loads(line)
        replies.write(json.dumps(_answer(task)).encode() + b"\n")
        replies.flush()


def _answer(task: dict[str, Any]) -> dict[str, Any]:
    function = getattr(importlib.import_module(task["module"]), task["name"])
    if ALARMS:
        signal.setitimer(signal.ITIMER_REAL, task["seconds"])  # without a handler: it ends the process
    try:
        with memory_limited():
            return {"value": function(*task["arguments"])}
    except Exception as error:  # whatever strangers' code raises
        return {"error": str(error) or type(error).__name__}
    finally:
        if ALARMS:
            signal.setitimer(signal.ITIMER_REAL, 0)
