"""Templates of the texts given to a model; they are checked when the recipe is read."""

from __future__ import annotations

import re
from string import Formatter

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
    except re.error as error:
        raise ValueError(f"{name} = {pattern!r}: is not a valid regular expression ({error})") from error
    if groups < 1:
        raise ValueError(f"{name} = {pattern!r}: must have a group that captures {group}")


def check_template(name: str, template: str, wanted: set[str]) -> None:
    """Check that a `str.format` template has exactly the fields it needs.

    Raises:
        ValueError: a field is missing or unknown, or a brace is unbalanced.
    """
    try:
        found = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
    except ValueError as error:
        raise ValueError(f"{name}: {error}; write a literal brace twice") from error
    if found != wanted:
        fields = ", ".join(f"{{{field}}}" for field in sorted(wanted))
        raise ValueError(f"{name}: has the fields {', '.join(sorted(found)) or 'none'}; it must have exactly {fields}")
