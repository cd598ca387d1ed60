"""Tries one bad input: a success or one sentence within a time limit is right; all else is a fault, told as a command.

The alarm of a trial is a BaseException: nothing of the program's own may catch it.
"""

import contextlib
import io
import math
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from selfboost import cli

LONGEST_SENTENCE = 2000


class Hang(BaseException):
    """Took longer than it may."""


@contextmanager
def at_most(seconds: float) -> Generator[None]:
    """Raise `Hang` where a block takes longer."""

    def stop(_signal: int, _frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fault_of(work: Callable[[], Any], seconds: float) -> tuple[str, Any]:
    """("", what it gives or the ValueError) if it was right, else (what went wrong, None)."""
    try:
        with at_most(seconds):
            return "", work()
    except ValueError as error:
        if type(error) is not ValueError:
            return f"traceback: {type(error).__name__}: {str(error)[:200]}\n{_last_place()}", None
        return sentence_fault(str(error)), error
    except Hang:
        return f"hang: more than {seconds:g} s\n{_last_place()}", None
    except BaseException as error:
        return f"traceback: {type(error).__name__}: {str(error)[:200]}\n{_last_place()}", None


def sentence_fault(text: str) -> str:
    """Why an error's text is not one sentence; empty if it is."""
    if not text.strip():
        return "an empty error"
    if len(text) > LONGEST_SENTENCE:
        return f"an error of {len(text):,} characters: {text[:200]!r}"
    return "says not where" if text.removeprefix("selfboost: ").startswith("Exceeds the limit") else ""


def _last_place() -> str:
    return "".join(traceback.format_exc().splitlines(keepends=True)[-9:])


def run_command(arguments: Sequence[str], seconds: float) -> str:
    """Run a command in this process; what went wrong, or an empty text."""
    out, err = io.StringIO(), io.StringIO()
    path, handler = list(sys.path), signal.getsignal(signal.SIGTERM)
    try:
        with at_most(seconds), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main(arguments)
    except SystemExit as end:
        return _exit_fault(end.code, err.getvalue())
    except Hang:
        return f"hang: more than {seconds:g} s\n{_last_place()}"
    except BaseException as error:
        return f"traceback: {type(error).__name__}: {str(error)[:200]}\n{_last_place()}"
    finally:
        sys.path[:] = path
        signal.signal(signal.SIGTERM, handler)
    return "main() came back"


def _exit_fault(code: Any, said: str) -> str:
    if code not in (0, 2):
        return f"exit code {code}: {said[-300:]}"
    errors = [line for line in said.splitlines() if line.startswith("selfboost: ")]
    if code == 2 and not (len(errors) == 1 or "usage: " in said):
        return f"exit code 2 with {len(errors)} sentences: {said[-300:]!r}"
    return sentence_fault(errors[0]) if errors else ""


def not_finite(part: Any, name: str = "") -> Iterator[str]:
    """Names of the settings that are infinite or no number."""
    if is_dataclass(part):
        for f in fields(part):
            yield from not_finite(getattr(part, f.name), f"{name}.{f.name}" if name else f.name)
    elif isinstance(part, tuple):
        for item in part:
            yield from not_finite(item, name)
    elif isinstance(part, float) and not math.isfinite(part):
        yield name


def told(faults: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Faults with the command lines that show them again."""
    lines = [f"selfboost {shlex.join([argument[:300] for argument in command])}\n{fault}" for fault, command in faults]
    return f"{len(faults)} faults\n" + "\n\n".join(lines[:20])
