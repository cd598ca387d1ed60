"""Templates of the texts given to a model, and patterns that read its answers: checked when the recipe is read.

A pattern, which a stranger may have written, runs under a time limit.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from string import Formatter

from selfboost.limits import has_alarm, limited
from selfboost.limits.processes import call
from selfboost.suggestions import shown

PATTERN_SECONDS = 10.0
"""Longest time that a pattern may take on one text."""
DOT_ALL = int(re.DOTALL)
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
    flags = DOT_ALL if dot_all else 0
    if not has_alarm():
        return call(
            first_groups, pattern, text, flags, seconds=PATTERN_SECONDS, sentence=_too_slow(name, pattern, text)
        )
    why = partial(_too_slow, name, pattern, text)
    with limited(PATTERN_SECONDS, why, memory=False):  # matches take no more than the text
        return first_groups(pattern, text, flags)


def _too_slow(name: str, pattern: str, text: str) -> str:
    return (
        f"{name} = {shown(pattern)}: took more than {PATTERN_SECONDS:g} s on a text of {len(text):,} characters; "
        "avoid repetitions inside repetitions, as in (a+)+, and several .* in a row"
    )


def first_groups(pattern: str, text: str, flags: int) -> list[str]:
    """The same without a limit of time, with the flags of `re`."""
    return [match[1] or "" for match in re.finditer(pattern, text, flags)]


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
