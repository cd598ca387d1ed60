"""Long texts in lists: the part around the first word that was searched for; the whole is sent when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LONGEST = 1200
"""Characters of a text in a list."""
LEAD = 200
"""Of them before the first hit."""


def clipped(row: Mapping[str, Any], query: str) -> dict[str, Any]:
    """A row with short texts; `cut` says whether any was shortened."""
    texts = {name: around(str(row[name]), query) for name in ("prompt", "answer", "other")}
    return {**row, **texts, "cut": any(len(str(row[name])) > LONGEST for name in texts)}


def around(text: str, query: str) -> str:
    """The part of a text around the first hit."""
    if len(text) <= LONGEST:
        return text
    words = [re.escape(word) for word in re.findall(r"\w+", query)]
    hit = re.search(rf"\b(?:{'|'.join(words)})", text, re.IGNORECASE) if words else None
    start = max(hit.start() - LEAD, 0) if hit else 0
    end = start + LONGEST
    return ("… " if start else "") + text[start:end] + (" …" if end < len(text) else "")
