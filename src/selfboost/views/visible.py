"""Makes text from a model safe to show: nothing in it can move the cursor, recolour a terminal or reorder a line.

Leaves out escaping for the output format: the report escapes HTML, the terminal view escapes rich's markup.
"""

from __future__ import annotations

import re

HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters except tab and newline
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"  # invisible ones, and those that change text direction
    "\ud800-\udfff]"  # unpaired surrogates, which no file can hold
)


def visible(text: str) -> str:
    """The text with every hidden character written out as an escape (`\\x1b`, `\\u202e`)."""
    return HIDDEN.sub(lambda found: _escape(ord(found[0])), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
