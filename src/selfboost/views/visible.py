"""Makes text from elsewhere safe to show: nothing in it can move the cursor, recolour a terminal or reorder a line.

Leaves out escaping for the output format: the report escapes HTML, and consoles take no markup.
"""

from __future__ import annotations

import re

_JOINED = "\u0600-\u1fff\u2600-\u27bf\u2c00-\ud7ff\uf900-\ufdff\ufe0f\ufe70-\ufefc\U00010000-\U000dffff"
"""Letters of scripts that join by invisible characters, and pictures; a class of a pattern."""
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters except tab and newline
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0"  # invisible letters and marks
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"  # of no width, and those that change text direction
    "\ufe00-\ufe0d\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # selectors, annotations, layout
    "\U000e0000-\U000e0fff"  # tags and selectors, which can carry a whole hidden text
    "\ud800-\udfff]"  # unpaired surrogates, which no file can hold
    f"|(?<![{_JOINED}])[\u200c\u200d\ufe0e\ufe0f]+(?!\u20e3)|[\u200c\u200d](?![{_JOINED}])"  # joiners of nothing
)


def visible(text: str) -> str:
    """The text with every hidden character written out as an escape (`\\x1b`, `\\u202e`, `\\U000e0041`)."""
    return HIDDEN.sub(lambda found: escaped(found[0]), text)


def escaped(text: str) -> str:
    """Every character as an escape."""
    return "".join(map(_escape, map(ord, text)))


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
