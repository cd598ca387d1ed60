"""Text from a model made harmless to show: nothing in it can move a cursor, recolour a terminal or reorder a line.

Leaves out what belongs to the place where it is shown: HTML is escaped by the report, rich's markup by the terminal.
"""

from __future__ import annotations

import re

HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and newline
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"  # unseen, and what changes the direction of writing
    "\ud800-\udfff]"  # halves of surrogate pairs, which no file can hold
)


def visible(text: str) -> str:
    """The text with every hidden character written out as an escape (`\\x1b`, `\\u202e`)."""
    return HIDDEN.sub(lambda found: _escape(ord(found[0])), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
