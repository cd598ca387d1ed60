"""Says what a mistyped name may have meant: the nearest allowed name, or one that it abbreviates."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST = 3
"""Names offered at once."""


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
