"""From the columns of a row to a conversation: texts, lists of messages, a system column; names what it leaves out.

Left out: tools. A conversation that uses them is refused, since without them it would say something else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from selfboost.data.columns import is_empty
from selfboost.data.rows import columns_in_words
from selfboost.records import Message

ROLES = ("system", "user", "assistant")
LONGEST = 1_000_000
"""Most characters of a prompt or an answer."""
WEIGHTS = ("weight", "weights")
"""Keys by which a message says whether it is trained: 1 or 0."""
TOOLS = ("tool_calls", "function_call", "tool_call_id")
"""Keys of a message that belongs to the use of a tool."""
SPEAKERS: Mapping[str, str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "system": "system",
}
"""Who speaks in a turn of {from, value} → role."""


class NotTrained(Exception):
    """The row itself says that its answer must not be trained."""


class NoAnswer(Exception):
    """The answer of a row is empty."""


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A conversation up to where the assistant speaks, and what it says then, if anything."""

    messages: tuple[Message, ...]
    response: str
    left_out: frozenset[str]
    """Keys of messages that hold something and are not used."""


class LeftOut:
    """What the rows of a source hold besides what is used, counted by rows."""

    def __init__(self) -> None:
        self.rows = 0
        self.not_trained = 0
        self._counts = Counter[str]()

    def add(self, columns: Iterable[str], keys: Iterable[str] = ()) -> None:
        """Count a row with its unused columns and the unused keys of its messages."""
        self.rows += 1
        self._counts.update([*map(repr, sorted(columns)), *(f"{key!r} of messages" for key in sorted(keys))])

    def sentences(self) -> list[str]:
        """What was left out and how often."""
        named = ", ".join(f"{name} in {count:,} of {self.rows:,} rows" for name, count in sorted(self._counts.items()))
        marked = f"{self.not_trained:,} rows dropped: weight 0 says not to train their answer"
        return [*([f"left out: {named}"] if named else []), *([marked] if self.not_trained else [])]


def unused(row: Mapping[str, Any], used: Iterable[str]) -> set[str]:
    """Columns or keys that hold something and are not among the used ones."""
    return {
        str(name)
        for name, value in row.items()
        if name not in set(used) and value is not None and value not in ([], {}, "")
    }


def text_of(row: Mapping[str, Any], key: str, where: str, *, required: bool = True) -> str:
    """The text of a column.

    Raises:
        ValueError: it is missing, empty or not text; says where.
    """
    value = row.get(key)
    if value is None and not required:
        return ""
    if value is None:
        raise ValueError(f"{where}: {key} is missing; the columns are {columns_in_words(row)}")
    if not isinstance(value, str):
        raise ValueError(f"{where}: {key} is {type(value).__name__}, must be text")
    if len(value) > LONGEST:
        raise ValueError(f"{where}: {key} has {len(value):,} characters, at most {LONGEST:,} are allowed; shorten it")
    if required and not value.strip():
        raise ValueError(f"{where}: {key} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: {key} contains an unpaired surrogate, which is not a valid character") from error
    return value


def asked(row: Mapping[str, Any], column: str, where: str, extra: str = "") -> list[dict[str, Any]]:
    """The turns of a prompt: a column's text, behind it that of the column `extra`, or a list of messages.

    Raises:
        ValueError: it is missing, empty or neither text nor a list; says where.
    """
    if isinstance(row.get(column), list) and row[column]:
        return cast("list[dict[str, Any]]", row[column])
    prompt = text_of(row, column, where)
    more = text_of(row, extra, where, required=False) if extra else ""
    return [{"role": "user", "content": f"{prompt}\n\n{more}" if more.strip() else prompt}]


def with_system(row: Mapping[str, Any], turns: Any, where: str, column: str) -> tuple[Any, frozenset[str]]:
    """The turns behind the system message of a column, and the columns used so: none where the turns have their own.

    Raises:
        ValueError: the column is not text; says where.
    """
    text = text_of(row, column, where, required=False) if column else ""
    if not text.strip() or not isinstance(turns, list):
        return turns, frozenset()
    first = cast("list[Any]", turns)[0] if turns else None
    own: Mapping[str, Any] = cast("Mapping[str, Any]", first) if isinstance(first, Mapping) else {}
    if own.get("role") != "system":
        return [{"role": "system", "content": text}, *cast("list[Any]", turns)], frozenset({column})
    return cast(Any, turns), frozenset({column} if own.get("content") == text else ())


def turns_in(value: Any) -> Any:
    """A list of messages with the turns {from, value} as {role, content}; what is neither stays for the check."""
    return [_as_message(turn) for turn in cast("list[Any]", value)] if isinstance(value, list) else value


def to_first_answer(turns: Any) -> Any:
    """A list of messages without those after the assistant's first answer, which are not checked."""
    if not isinstance(turns, list):
        return turns
    turns = cast("list[Any]", turns)
    speakers = [_role(turn) for turn in turns]
    return turns[: speakers.index("assistant") + 1] if "assistant" in speakers else turns


def answer_is_empty(turns: Any) -> bool:
    """Whether the last message is an assistant's without a text; one that uses a tool is not meant."""
    if not isinstance(turns, list) or not turns or _role(turns[-1]) != "assistant":
        return False
    last = cast("Mapping[str, Any]", turns[-1])
    return is_empty(last.get("content")) and not any(last.get(key) for key in TOOLS)


def conversation(turns: Any, where: str, *, need_response: bool) -> Conversation:
    """A list of {role, content} as the conversation up to the assistant's last answer, and that answer.

    Raises:
        ValueError: a turn is invalid or out of place, or uses a tool; says where.
        NotTrained: the answer has the weight 0.
    """
    if not isinstance(turns, list) or not turns:
        raise ValueError(f"{where}: messages must be a list of {{role, content}}")
    messages: list[Message] = []
    left_out = set[str]()
    weight: Any = None
    for number, turn in enumerate(cast("list[Any]", turns), start=1):
        message = _message(turn, f"{where} message {number}")
        if message.role == "system" and messages:
            raise ValueError(f"{where} message {number}: the system message must be the first")
        messages.append(message)
        weight = next((turn[key] for key in WEIGHTS if turn.get(key) is not None), None)
        left_out |= unused(turn, ("role", "content", *(WEIGHTS if weight in (0, 1) else ())))
    answered = messages[-1].role == "assistant"
    response = messages.pop().content if answered else ""
    if need_response and not response:
        raise ValueError(f"{where}: the last message must be the assistant's")
    if not messages or messages[-1].role != "user":
        raise ValueError(f"{where}: the message before the answer must be the user's")
    if need_response and weight == 0:
        raise NotTrained
    return Conversation(messages=tuple(messages), response=response, left_out=frozenset(left_out))


def _role(turn: Any) -> Any:
    return cast("Mapping[str, Any]", turn).get("role") if isinstance(turn, Mapping) else None


def _as_message(turn: Any) -> Any:
    if not isinstance(turn, Mapping) or _role(turn) is not None or "from" not in turn:
        return cast(Any, turn)
    turn = cast("Mapping[str, Any]", turn)
    rest = {key: value for key, value in turn.items() if key not in ("from", "value")}
    speaker = turn["from"]
    return {**rest, "role": SPEAKERS.get(speaker, speaker) if isinstance(speaker, str) else speaker} | (
        {"content": turn["value"]} if "value" in turn else {}
    )


def _message(turn: Any, place: str) -> Message:
    if not isinstance(turn, Mapping):
        raise ValueError(f"{place}: must be {{role, content}}")
    turn = cast(Mapping[str, Any], turn)
    role = text_of(turn, "role", place)
    if role not in ROLES:
        raise ValueError(f"{place}: role {role!r}; allowed: {', '.join(ROLES)}")
    if tool := next((key for key in TOOLS if turn.get(key)), ""):
        raise ValueError(f"{place}: has {tool}, but tools are not trained; take such rows out of the data")
    return Message(
        role=role, content=text_of({**turn, "content": _joined(turn.get("content"), place)}, "content", place)
    )


def _joined(content: Any, place: str) -> Any:
    """The text of a content that is a list of parts of text; anything else stays for the check."""
    if not isinstance(content, list):
        return content
    parts = cast("list[Any]", content)
    kinds = [cast("Mapping[str, Any]", part).get("type") if isinstance(part, Mapping) else None for part in parts]
    if others := [kind for kind in kinds if kind != "text"]:
        raise ValueError(f"{place}: content has a part of the type {others[0]!r}; only text is trained")
    return "".join(text_of(part, "text", place) for part in parts) if parts else cast(Any, content)
