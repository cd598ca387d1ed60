"""Texts that wrap what is put to a model; a template is checked when its recipe is read."""

from __future__ import annotations

from string import Formatter


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
