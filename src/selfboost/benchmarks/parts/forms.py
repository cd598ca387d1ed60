"""Forms of requests to a judge: a text with fields in braces, in turns where it is marked as ChatML.

Published prompt files are read as they are, so any other brace stands for itself. Fields are filled in one pass: what
an answer holds is never taken for a field.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from selfboost.records import Message

TURN = re.compile(r"<\|im_start\|>(system|user|assistant)\s*\n(.*?)<\|im_end\|>", re.DOTALL)
FIELD = re.compile(r"\{(\w+)\}")


def filled(form: str, values: Mapping[str, str]) -> tuple[Message, ...]:
    """The messages of a form; a form without marks is one message of the user's."""
    turns: list[tuple[str, str]] = TURN.findall(form) or [("user", form)]
    return tuple(
        Message(role=role, content=FIELD.sub(lambda found: values.get(found[1], found[0]), text.strip("\n")))
        for role, text in turns
    )


def check_form(name: str, form: str, wanted: Collection[str]) -> None:
    """Raise ValueError if a form, which the setting `name` holds, lacks a field."""
    if lacking := sorted(set(wanted) - set(FIELD.findall(form))):
        fields = ", ".join(f"{{{field}}}" for field in lacking)
        raise ValueError(f"{name}: lacks {fields}; a request to this judge needs them")
