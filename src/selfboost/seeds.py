"""Reads a seed: prompts with good answers, from JSONL, a JSON array (gzip too) or Parquet, a file or a folder of them.

Columns: prompt/response, instruction/input/output, or messages. Exact duplicates are dropped and counted; anything else
that is wrong is one sentence with its file and line. Leaves out hub data sets.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from selfboost.records import Message

FORMS = "prompt/response, instruction/input/output, or messages"
SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet")
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A conversation up to where the assistant speaks, and the good answer."""

    messages: tuple[Message, ...]
    response: str


def read_seeds(path: Path, *, need_response: bool = True) -> tuple[list[Seed], list[str]]:
    """All seeds of a file or folder, and sentences on what was dropped.

    Raises:
        ValueError: says which file, line and field is wrong and what is allowed.
    """
    seeds: dict[tuple[Message, ...], Seed] = {}
    rows = 0
    for where, row in _rows(path):
        seed = _seed(row, where, need_response)
        rows += 1
        seeds.setdefault(seed.messages, seed)
    if not rows:
        raise ValueError(f"{path}: holds no seeds")
    repeated = rows - len(seeds)
    return list(seeds.values()), [f"{path}: {repeated} repeated prompts dropped"] if repeated else []


def split(
    seeds: Sequence[Seed], validation: int, held_out: int, seed: int
) -> tuple[list[Seed], list[Seed], list[Seed]]:
    """(training, validation, held-out): disjoint, at random by the seed.

    Raises:
        ValueError: there are too few.
    """
    if validation + held_out >= len(seeds):
        raise ValueError(
            f"the seed has {len(seeds)} prompts: too few to set apart {validation} for validation and {held_out} held "
            "out; lower seed.validation and seed.held_out or name files for them"
        )
    mixed = random.Random(seed).sample(list(seeds), len(seeds))
    return mixed[validation + held_out :], mixed[:validation], mixed[validation : validation + held_out]


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it stands, row) of every file."""
    files = sorted(p for p in path.iterdir() if p.name.endswith(SUFFIXES)) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path}: holds no seed file; allowed endings: {', '.join(SUFFIXES)}")
    for file in files:
        if not file.exists():
            raise ValueError(f"{file}: no such file or folder")
        if not file.name.endswith(SUFFIXES):
            raise ValueError(f"{file}: allowed endings of a seed file are {', '.join(SUFFIXES)}")
        reader = _parquet_rows if file.suffix == ".parquet" else _json_rows
        for where, row in reader(file):
            if not isinstance(row, Mapping):
                raise ValueError(f"{where}: must be an object with {FORMS}")
            yield where, cast(Mapping[str, Any], row)


def _json_rows(file: Path) -> Iterator[tuple[str, Any]]:
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: is not UTF-8 text (byte {error.start})") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{file}: is not a whole gzip file ({error})") from error
    if text.lstrip().startswith("["):
        rows = _parse(text, str(file))
        yield from ((f"{file} row {number}", row) for number, row in enumerate(rows, start=1))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{file} line {number}"
            yield where, _parse(line, where)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: is not valid JSON ({error.msg}, column {error.colno})") from error


def _parquet_rows(file: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]

    try:
        rows = cast("list[dict[str, Any]]", cast(Any, pq).read_table(file).to_pylist())
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file}: is not a Parquet file ({error})") from error
    yield from ((f"{file} row {number}", row) for number, row in enumerate(rows, start=1))


def _seed(row: Mapping[str, Any], where: str, need_response: bool) -> Seed:
    if "messages" in row:
        return _conversation(row["messages"], where, need_response)
    if "instruction" in row:
        asked = _text(row, "instruction", where)
        extra = _text(row, "input", where, required=False)
        prompt, answer = f"{asked}\n\n{extra}" if extra.strip() else asked, "output"
    elif "prompt" in row:
        prompt, answer = _text(row, "prompt", where), "response"
    else:
        raise ValueError(f"{where}: has the columns {', '.join(map(str, row)) or 'none'}; allowed: {FORMS}")
    response = _text(row, answer, where, required=need_response)
    return Seed(messages=(Message(role="user", content=prompt),), response=response)


def _text(row: Mapping[str, Any], key: str, where: str, *, required: bool = True) -> str:
    value = row.get(key)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        found = "is missing" if value is None else f"is {type(value).__name__}, must be text"
        raise ValueError(f"{where}: {key} {found}")
    if required and not value.strip():
        raise ValueError(f"{where}: {key} is empty")
    return value


def _conversation(turns: Any, where: str, need_response: bool) -> Seed:
    if not isinstance(turns, list) or not turns:
        raise ValueError(f"{where}: messages must be a list of {{role, content}}")
    messages: list[Message] = []
    for number, turn in enumerate(cast("list[Any]", turns), start=1):
        place = f"{where} message {number}"
        if not isinstance(turn, Mapping):
            raise ValueError(f"{place}: must be {{role, content}}")
        turn = cast(Mapping[str, Any], turn)
        role = _text(turn, "role", place)
        if role not in ROLES:
            raise ValueError(f"{place}: role {role!r}; allowed: {', '.join(ROLES)}")
        messages.append(Message(role=role, content=_text(turn, "content", place)))
    response = messages.pop().content if messages[-1].role == "assistant" else ""
    if need_response and not response:
        raise ValueError(f"{where}: the last message must be the assistant's")
    if not messages or messages[-1].role != "user":
        raise ValueError(f"{where}: the message before the answer must be the user's")
    return Seed(messages=tuple(messages), response=response)
