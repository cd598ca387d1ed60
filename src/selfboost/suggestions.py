"""What errors say of a wrong value: the value itself, cut where it is long, and what a mistyped name may have meant."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any, cast

MOST = 3
"""Names offered at once."""
LONGEST_TEXT = 200
"""Characters of a text that is quoted."""
LONGEST_NUMBER = 10_000
"""Bits of a whole number that is quoted: Python refuses to write far longer ones."""


def shown(value: Any) -> str:
    """A value as an error quotes it: as Python writes it, a list in brackets, cut where it is long or deep."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxlong = 3, LONGEST_TEXT, 40
    if isinstance(value, int) and value.bit_length() > LONGEST_NUMBER:
        return "a number of thousands of digits"
    return short.repr(list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value)


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """` (did you mean 'x'?)` with the names that a word is near to or short for; nothing where there is none."""
    names = list(allowed)
    near = difflib.get_close_matches(word, names, n=1) or [name for name in names if _abbreviates(word, name)][:MOST]
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def _abbreviates(word: str, name: str) -> bool:
    """Whether a word is a name's initials, its beginning, or one of its words."""
    words = name.replace("-", "_").split("_")
    initials = "".join(part[:1] for part in words)
    return len(word) > 1 and (word == initials or name.startswith(word) or word in words)
