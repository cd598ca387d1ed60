"""Reads existing preference data: prompts with a chosen and a rejected answer, in the file formats of seeds.

Columns: chosen and rejected as texts beside prompt or instruction/input, or as whole conversations (messages), which
share all but their last message. Other columns are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selfboost.data.hub_data import is_hub_name
from selfboost.data.seeds import conversation, prompt_of, rows_of, text_of
from selfboost.records import Message

FORMS = "prompt/chosen/rejected, instruction/input/chosen/rejected, or chosen/rejected as lists of messages"


@dataclass(frozen=True, kw_only=True)
class Preference:
    """A conversation up to where the assistant speaks, and two answers."""

    messages: tuple[Message, ...]
    chosen: str
    rejected: str


def read_preferences(source: str | Path) -> tuple[list[Preference], int]:
    """All preferences of a file, a folder or a hub data set, in order, and the number of invalid rows left out.

    Only a hub data set's are left out, after a first good row, since the user cannot fix them.

    Raises:
        ValueError: says which file, row and field is wrong and what is allowed.
    """
    found: list[Preference] = []
    wrong = 0
    for where, row in rows_of(source):
        try:
            found.append(_preference(row, where))
        except ValueError:
            if not (found and is_hub_name(str(source))):
                raise
            wrong += 1
    if not found:
        raise ValueError(f"{source}: contains no preferences")
    return found, wrong


def write_preferences(path: Path, preferences: Iterable[Preference]) -> Path:
    """Write preferences as JSON lines that `read_preferences` reads, and return the path."""
    with path.open("w", encoding="utf-8") as file:
        for one in preferences:
            asked = [asdict(message) for message in one.messages]
            sides = {"chosen": one.chosen, "rejected": one.rejected}
            row = {side: [*asked, {"role": "assistant", "content": text}] for side, text in sides.items()}
            file.write(json.dumps(row) + "\n")
    return path


def _preference(row: Mapping[str, Any], where: str) -> Preference:
    missing = [column for column in ("chosen", "rejected") if row.get(column) is None]
    if missing:
        columns = ", ".join(map(str, row)) or "none"
        raise ValueError(f"{where}: {missing[0]} is missing; the columns are {columns}; allowed: {FORMS}")
    if isinstance(row["chosen"], str) and row.get("prompt") is None and row.get("instruction") is None:
        raise ValueError(f"{where}: prompt is missing; the columns are {', '.join(map(str, row))}; allowed: {FORMS}")
    if isinstance(row["chosen"], str):
        column = "prompt" if row.get("instruction") is None else "instruction"
        prompt = Message(role="user", content=prompt_of(row, column, where))
        chosen, rejected = text_of(row, "chosen", where), text_of(row, "rejected", where)
        return Preference(messages=(prompt,), chosen=chosen, rejected=rejected)
    better = conversation(row["chosen"], f"{where} chosen", need_response=True)
    worse = conversation(row["rejected"], f"{where} rejected", need_response=True)
    if better.messages != worse.messages:
        raise ValueError(f"{where}: chosen and rejected answer different conversations")
    return Preference(messages=better.messages, chosen=better.response, rejected=worse.response)
