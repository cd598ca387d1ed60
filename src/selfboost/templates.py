"""Templates of the texts given to a model, and patterns that read its answers: checked when the recipe is read.

What strangers may have written, such as a pattern or a chat template, runs under a time limit.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from string import Formatter
from typing import NoReturn

from selfboost.suggestions import shown

PATTERN_SECONDS = 10.0
"""Longest time that a pattern may take on one text."""
REPEATS = 10
"""How often a template may have one field."""
CHARACTERS = 4
"""Characters per token, approximately, in English."""


def about_tokens(text: str) -> float:
    """Approximate number of tokens of a text, without a tokenizer."""
    return len(text) / CHARACTERS


def check_pattern(name: str, pattern: str, group: str) -> None:
    """Check that a regular expression has a group; `group` says what it captures.

    Raises:
        ValueError: it is invalid, or has no group.
    """
    try:
        groups = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{name} = {shown(pattern)}: is not a valid regular expression ({error})") from error
    if groups < 1:
        raise ValueError(f"{name} = {shown(pattern)}: must have a group that captures {group}")


def groups_found(name: str, pattern: str, text: str, *, dot_all: bool = False) -> list[str]:
    """What the first group of a pattern captures in a text, for every match; empty where it takes no part in one.

    Raises:
        ValueError: the pattern, which the setting `name` holds, takes too long.
    """
    why = (
        f"{name} = {shown(pattern)}: took more than {PATTERN_SECONDS:g} s on a text of {len(text):,} characters; "
        "avoid repetitions inside repetitions, as in (a+)+, and several .* in a row"
    )
    with time_limit(PATTERN_SECONDS, why):
        return [match[1] or "" for match in re.finditer(pattern, text, re.DOTALL if dot_all else 0)]


def check_template(name: str, template: str, wanted: set[str]) -> None:
    """Check that a `str.format` template has exactly the fields it needs.

    Raises:
        ValueError: a field is missing, unknown or has a format, or a brace is unbalanced.
    """
    try:
        parts = [part for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise ValueError(f"{name}: {error}; write a literal brace twice") from error
    found = Counter(str(field) for _, field, _, _ in parts)
    if found.keys() != wanted:
        fields = ", ".join(f"{{{field}}}" for field in sorted(wanted))
        raise ValueError(f"{name}: has the fields {', '.join(sorted(found)) or 'none'}; it must have exactly {fields}")
    for _, field, width, conversion in parts:
        if width or conversion:
            raise ValueError(f"{name}: {{{field}}} has a format; allowed: the field's name alone")
    if max(found.values(), default=0) > REPEATS:
        raise ValueError(f"{name}: has a field more than {REPEATS} times")


@contextmanager
def time_limit(seconds: float, sentence: str) -> Generator[None]:
    """End the block with an error once it has taken this many seconds: code of strangers may never end.

    Works by an alarm signal, which regular expressions and long integers heed too; only in the main thread, where
    every command runs: elsewhere there is no limit.

    Raises:
        ValueError: with this sentence.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: object) -> NoReturn:
        raise ValueError(sentence)

    before = signal.signal(signal.SIGALRM, stop)
    began = time.monotonic()
    left, every = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)  # again, should the block swallow the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)
        if left:  # someone else's alarm
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, left - (time.monotonic() - began)), every)
