"""Texts that wrap what is put to a model; a template is checked when its recipe is read."""

from __future__ import annotations

import re
from string import Formatter

CHARACTERS = 4
"""Of a token, about, in English."""


def about_tokens(text: str) -> float:
    """Tokens of a text, about, where no tokenizer is asked."""
    return len(text) / CHARACTERS


def check_pattern(name: str, pattern: str, group: str) -> None:
    """Make sure that a regular expression has a group, which is to hold what `group` says.

    Raises:
        ValueError: it is none, or has no group.
    """
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{name} = {pattern!r}: is no regular expression ({error})") from error
    if groups < 1:
        raise ValueError(f"{name} = {pattern!r}: must have one group, {group}")


def check_template(name: str, template: str, wanted: set[str]) -> None:
    """Make sure that a `str.format` template has exactly the fields it needs.

    Raises:
        ValueError: a field is missing or unknown, or a brace stands alone.
    """
    try:
        found = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
    except ValueError as error:
        raise ValueError(f"{name}: {error}; write a literal brace twice") from error
    if found != wanted:
        fields = ", ".join(f"{{{field}}}" for field in sorted(wanted))
        raise ValueError(f"{name}: has the fields {', '.join(sorted(found)) or 'none'}; it must have exactly {fields}")
