"""Reads existing preference data: prompts with a chosen and a rejected answer, in the file formats of seeds.

A prompt is a text (prompt, or instruction and input), a list of messages, or the messages that chosen and rejected
share, which then hold several; answers are texts, or messages that repeat or continue the prompt. Other columns, scores
among them, are left out and counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from selfboost.data.columns import system_column
from selfboost.data.conversations import (
    Conversation,
    LeftOut,
    NotTrained,
    asked,
    conversation,
    text_of,
    unused,
    with_system,
)
from selfboost.data.hub_data import is_hub_name
from selfboost.data.rows import columns_in_words, rows_of
from selfboost.records import Message

FORMS = "prompt/chosen/rejected, instruction/input/chosen/rejected, or chosen/rejected as lists of messages"
SIDES = ("chosen", "rejected")


@dataclass(frozen=True, kw_only=True)
class Preference:
    """A conversation up to where the assistant speaks, and two answers."""

    messages: tuple[Message, ...]
    chosen: str
    rejected: str


def read_preferences(source: str | Path) -> tuple[list[Preference], int, list[str]]:
    """All preferences of a file, a folder or a hub data set, in order; how many invalid rows were dropped; sentences.

    Only a hub data set's are dropped, after a first good row, since the user cannot fix them. The sentences say which
    files, rows, columns and keys were left out, and how often.

    Raises:
        ValueError: says which file, row and field is wrong and what is allowed.
    """
    found: list[Preference] = []
    notes: list[str] = []
    left_out = LeftOut()
    wrong = 0
    for where, row in rows_of(source, notes):
        try:
            preference, columns, keys = _preference(row, where)
        except NotTrained:
            left_out.not_trained += 1
            continue
        except ValueError:
            if not (found and is_hub_name(str(source))):
                raise
            wrong += 1
            continue
        found.append(preference)
        left_out.add(columns, keys)
    if not found:
        raise ValueError(f"{source}: contains no preferences")
    return found, wrong, [*notes, *(f"{source}: {sentence}" for sentence in left_out.sentences())]


def write_preferences(path: Path, preferences: Iterable[Preference]) -> Path:
    """Write preferences as JSON lines that `read_preferences` reads, and return the path."""
    with path.open("w", encoding="utf-8") as file:
        for one in preferences:
            asked = [asdict(message) for message in one.messages]
            sides = {"chosen": one.chosen, "rejected": one.rejected}
            row = {side: [*asked, {"role": "assistant", "content": text}] for side, text in sides.items()}
            file.write(json.dumps(row) + "\n")
    return path


def _preference(row: Mapping[str, Any], where: str) -> tuple[Preference, set[str], frozenset[str]]:
    """The preference of a row, and the columns and the keys of messages that were not used."""
    missing = [column for column in SIDES if row.get(column) is None]
    if missing:
        columns = columns_in_words(row)
        raise ValueError(f"{where}: {missing[0]} is missing; the columns are {columns}; allowed: {FORMS}")
    column = "prompt" if row.get("instruction") is None else "instruction"
    extra = "input" if column == "instruction" else ""
    prompt = asked(row, column, where, extra) if row.get(column) is not None else []
    if isinstance(row["chosen"], str) and not prompt:
        raise ValueError(f"{where}: prompt is missing; the columns are {columns_in_words(row)}; allowed: {FORMS}")
    better, worse = (_side(row, side, prompt, where) for side in SIDES)
    if better.messages != worse.messages:
        raise ValueError(f"{where}: chosen and rejected answer different conversations")
    used = {*SIDES, *with_system(row, _turns(row, "chosen", prompt, where), where, system_column(row))[1]}
    if _holds(better, prompt):
        used |= {column, extra}
    preference = Preference(messages=better.messages, chosen=better.response, rejected=worse.response)
    return preference, unused(row, used), better.left_out | worse.left_out


def _side(row: Mapping[str, Any], side: str, prompt: list[dict[str, Any]], where: str) -> Conversation:
    """The whole conversation that ends with an answer."""
    turns, _ = with_system(row, _turns(row, side, prompt, where), where, system_column(row))
    whole = conversation(turns, f"{where} {side}", need_response=True)
    if isinstance(row.get("prompt"), list) and not _holds(whole, prompt):
        raise ValueError(f"{where}: {side} neither continues nor repeats the messages of prompt")
    return whole


def _turns(row: Mapping[str, Any], side: str, prompt: list[dict[str, Any]], where: str) -> Any:
    """The turns of a side: its own messages, behind the prompt where they do not begin with it."""
    answer: Any = row[side]
    if isinstance(row["chosen"], str):
        return [*prompt, {"role": "assistant", "content": text_of(row, side, where)}]
    turns: Any = [answer] if isinstance(answer, Mapping) else answer
    first: Any = cast("list[Any]", turns)[0] if isinstance(turns, list) and turns else None
    continues = isinstance(first, Mapping) and cast("Mapping[str, Any]", first).get("role") == "assistant"
    return [*prompt, *cast("list[Any]", turns)] if continues else cast(Any, turns)


def _holds(whole: Conversation, prompt: list[dict[str, Any]]) -> bool:
    """Whether a conversation has the turns of a prompt, in order and side by side."""
    contents = [message.content for message in whole.messages]
    wanted = [turn.get("content") for turn in prompt]
    return any(contents[i : i + len(wanted)] == wanted for i in range(len(contents)))
