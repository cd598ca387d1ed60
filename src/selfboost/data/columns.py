"""Which columns of a row hold its prompt and its answer: named by the user, or recognised by their names.

Recognised is only what can be read in one way; else a sentence says which columns there are and how to name them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field

from selfboost.data.rows import columns_in_words

ColumnName = Annotated[str, Field(max_length=1000)]
"""A column's name; empty: recognised."""
TALKS = ("messages", "conversations", "conversation")
QUESTIONS = ("prompt", "instruction", "question")
INPUTS = ("input", "context")
ANSWERS = ("response", "output", "answer", "completion")
SYSTEM = ("system", "system_prompt")
"""Names by which columns are recognised, whatever their case, by what they hold."""
WITH_INPUT = "instruction"
"""The prompt's column beside which a column of `INPUTS` belongs to the prompt; beside another it may not."""
RECOGNISED = (
    "prompt, instruction (with input) or question, beside response, output, answer or completion; messages or "
    "conversations"
)
NAMING = "--columns prompt=COLUMN,response=COLUMN (in a recipe: seed.columns)"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of the user's data by what they hold."""

    prompt: ColumnName = ""
    """The request: a text, or a list of messages."""
    input: ColumnName = ""
    """A text that belongs to the prompt and follows it after a blank line."""
    response: ColumnName = ""
    """The good answer."""
    system: ColumnName = ""
    """The system message."""
    messages: ColumnName = ""
    """Whole conversations, with the answer last, in place of `prompt`, `input` and `response`."""

    def __post_init__(self) -> None:
        if self.messages and (self.prompt or self.input or self.response):
            raise ValueError("messages holds prompt and answer already: name it without prompt, input and response")
        if (self.input or self.response) and not self.prompt:
            raise ValueError("prompt is missing; name its column too")
        if twice := [name for name in self.named if self.named.count(name) > 1]:
            raise ValueError(f"the column {twice[0]!r} is named twice; name another for each use")

    @property
    def named(self) -> Sequence[str]:
        """The columns that are named."""
        return [name for name in (self.prompt, self.input, self.response, self.system, self.messages) if name]

    def row(self, messages: Sequence[Mapping[str, str]], response: str) -> dict[str, Any]:
        """A row that is read as this conversation and its answer, if any."""
        empty = dict.fromkeys((name for name in (self.input, self.system) if name), "")
        if self.prompt:
            return {**empty, self.prompt: list(messages), self.response or "response": response}
        answer = [{"role": "assistant", "content": response}] if response else []
        return {**empty, self.messages or "messages": [*messages, *answer]}


RECOGNISE = Columns()
"""Nothing is named."""


def columns_from(text: str) -> Columns:
    """The columns that `--columns prompt=question,response=answer` names.

    Raises:
        ValueError: it does not name columns so; says how.
    """
    allowed = [f.name for f in fields(Columns)]
    found: dict[str, str] = {}
    for part in text.split(","):
        use, equals, name = (piece.strip() for piece in part.partition("="))
        if use not in allowed or not equals or not name or use in found:
            raise ValueError(
                f"--columns {text:.200}: write USE=COLUMN,USE=COLUMN, each USE once; allowed as USE: "
                f"{', '.join(allowed)}; for example prompt=question,response=answer"
            )
        found[use] = name
    try:
        return Columns(**found)
    except ValueError as error:
        raise ValueError(f"--columns {text:.200}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a row is read: the columns in use, empty where there is none."""

    messages: str = ""
    prompt: str = ""
    input: str = ""
    response: str = ""
    system: str = ""
    unclear: str = ""
    """Why prompt and answer cannot be told apart from other columns: what was found is a guess."""

    @property
    def used(self) -> frozenset[str]:
        """The columns that are read."""
        return frozenset((self.messages, self.prompt, self.input, self.response, self.system)) - {""}

    def __str__(self) -> str:
        return "/".join(name for name in (self.messages, self.prompt, self.response) if name)


def form_of(row: Mapping[str, Any], where: str, named: Columns = RECOGNISE) -> Form:
    """How a row is read.

    Raises:
        ValueError: it lacks a named column, or has none where a prompt is looked for.
    """
    for name in named.named:
        if name not in row:
            raise ValueError(
                f"{where}: has no column {name!r:.80}, which is named as one; the columns are {columns_in_words(row)}"
            )
    system = named.system or system_column(row)
    talks = [named.messages] if named.messages else _full(row, () if named.prompt else TALKS)
    if talks:
        return Form(messages=talks[0], system=system, unclear=_unclear(row, where, _several(talks)))
    prompts = [named.prompt] if named.prompt else _full(row, QUESTIONS) or _there(row, QUESTIONS)
    if not prompts:
        raise ValueError(
            f"{where}: no prompt is recognised among the columns {columns_in_words(row)}; name them with {NAMING}. "
            f"Recognised by themselves are {RECOGNISED}"
        )
    prompt, answers = prompts[0], [named.response] if named.response else _full(row, ANSWERS) or _there(row, ANSWERS)
    inputs = [named.input] if named.input else _full(row, () if named.prompt else INPUTS)
    unclear = _several(prompts) or _several(answers) or _several(inputs)
    if inputs and not named.prompt and prompt.strip().lower() != WITH_INPUT:
        unclear = unclear or f"{inputs[0]} may belong to the prompt or not: name it as input=COLUMN, or leave it out"
    return Form(
        prompt=prompt,
        input=next(iter(inputs), ""),
        response=next(iter(answers), ""),
        system=system,
        unclear=_unclear(row, where, unclear),
    )


def system_column(row: Mapping[str, Any]) -> str:
    """The column that is recognised as the system message; empty if there is none."""
    return next(iter(_full(row, SYSTEM)), "")


def _unclear(row: Mapping[str, Any], where: str, why: str) -> str:
    return f"{where}: {why}; name the columns with {NAMING}; there are {columns_in_words(row)}" if why else ""


def _several(found: Sequence[str]) -> str:
    """Why one of several columns cannot be chosen."""
    return f"{' and '.join(found)} may both be meant" if len(found) > 1 else ""


def _there(row: Mapping[str, Any], known: tuple[str, ...]) -> Sequence[str]:
    """The columns with one of these names, in any case; only the first, since all are empty."""
    return _alike(tuple(row), known)[:1]


def _full(row: Mapping[str, Any], known: tuple[str, ...]) -> Sequence[str]:
    """The columns with one of these names, in any case, that hold something."""
    return [name for name in _alike(tuple(row), known) if not is_empty(row[name])]


@lru_cache(maxsize=1000)
def _alike(names: tuple[str, ...], known: tuple[str, ...]) -> Sequence[str]:
    """Asked once of all rows with the same columns."""
    return [name for name in names if name.strip().lower() in known]


def is_empty(value: object) -> bool:
    """Whether a cell holds nothing, or blanks alone."""
    return value is None or (isinstance(value, str) and not value.strip())
