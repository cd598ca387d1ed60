"""Reads a seed: prompts with good answers, from JSONL, a JSON array (gzip too), Parquet, a folder of them, or the hub.

Columns: prompt/response, instruction/input/output, or messages, each with an optional system column. Repeated prompts
are dropped and counted, other columns left out and counted. Anything else that is invalid raises one sentence with
its file and line; in a hub data set, which the user cannot fix, an invalid row after a valid one is dropped and
counted too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from selfboost.data.conversations import (
    FORMS,
    LeftOut,
    NotTrained,
    asked,
    conversation,
    text_of,
    unused,
    with_system,
)
from selfboost.data.files import check_regular, check_utf8, content_of, first_line, parsed
from selfboost.data.folders import files_to_read, rows_by_file
from selfboost.data.hub_data import hub_rows, is_hub_name
from selfboost.records import Message, content_hash, dialogue, spoken

SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "instruction": ("instruction", "input", "output"),
    "prompt": ("prompt", "response"),
}
"""The column that identifies a form → all columns of the form."""
ASKED = ("question", "query", "turns", "ctx")
"""Columns where benchmarks keep their questions, as a text or a list of texts, besides the forms of seeds."""
Turns = Literal["last", "first"]
"""Which of the assistant's answers in a conversation the seed uses."""


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A conversation up to where the assistant speaks, and the good answer."""

    messages: tuple[Message, ...]
    response: str


def question_texts(seeds: Sequence[Seed]) -> list[str]:
    """What is said in each seed up to its answer: its one question, or the turns of a conversation."""
    return [dialogue(seed.messages) for seed in seeds]


def spoken_texts(seeds: Sequence[Seed]) -> list[str]:
    """The words of each seed up to its answer, which keywords are drawn from."""
    return [spoken(seed.messages) for seed in seeds]


def read_seeds(
    source: str | Path, *, need_response: bool = True, turns: Turns = "last"
) -> tuple[list[Seed], list[str]]:
    """All seeds of a file, a folder or a hub data set, each prompt once, and sentences on what was dropped or ignored.

    `turns`: whether a conversation is used whole or only up to the assistant's first answer.

    Raises:
        ValueError: says which file, line and field is wrong and what is allowed.
    """
    hub = isinstance(source, str) and is_hub_name(source)
    notes: list[str] = []
    rows = ((where, _to_first_answer(row) if turns == "first" else row) for where, row in rows_of(source, notes))
    seeds, more = gather_seeds(rows, source, need_response=need_response, drop_wrong=hub)
    return seeds, [*notes, *more]


def read_prompts(source: str | Path) -> list[str]:
    """The questions of every row of a file, a whole folder or a hub data set: seeds, or a benchmark without answers.

    Raises:
        ValueError: says which file and row is wrong and what is allowed.
    """
    found: list[str] = []
    for where, row in rows_of(source, every_split=True):
        column = next((name for name in ASKED if isinstance(row.get(name), str | list)), None)
        if column is None:
            found += question_texts([_seed(row, where, need_response=False)[0]])
        else:
            turns = [row[column]] if isinstance(row[column], str) else cast("list[Any]", row[column])
            found += [turn for turn in turns if isinstance(turn, str)]
    if not found:
        raise ValueError(f"{source}: contains no prompts")
    return found


def gather_seeds(
    rows: Iterable[tuple[str, Mapping[str, Any]]], source: str | Path, *, need_response: bool, drop_wrong: bool
) -> tuple[list[Seed], list[str]]:
    """The seeds of rows, as `read_seeds`. `drop_wrong`: after a first valid row, invalid ones are dropped and counted.

    Raises:
        ValueError: a row is invalid, or there are no rows.
    """
    seeds: dict[tuple[Message, ...], Seed] = {}
    counts = Counter[str]()
    left_out = LeftOut()
    fault = ""
    for where, row in rows:
        try:
            seed, columns, keys = _seed(row, where, need_response)
        except NotTrained:
            left_out.not_trained += 1
            continue
        except ValueError as error:
            if not (drop_wrong and seeds):
                raise
            counts["wrong"] += 1
            fault = fault or str(error)
            continue
        first = seeds.setdefault(seed.messages, seed)
        counts["seeds"] += 1
        counts["again"] += first is not seed and first == seed
        counts["another"] += first != seed
        left_out.add(columns, keys)
    if not seeds:
        raise ValueError(f"{source}: contains no seeds")
    sentences = [*_notes(counts, fault), *left_out.sentences()]
    return list(seeds.values()), [f"{source}: {sentence}" for sentence in sentences]


def _to_first_answer(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row without the turns after the assistant's first answer, which are not checked."""
    turns = row.get("messages")
    if not isinstance(turns, list):
        return row
    turns = cast("list[Any]", turns)
    speakers = [cast(Any, turn).get("role") if isinstance(turn, Mapping) else None for turn in turns]
    return {**row, "messages": turns[: speakers.index("assistant") + 1] if "assistant" in speakers else turns}


def _notes(counts: Mapping[str, int], fault: str) -> list[str]:
    found = {
        f"{counts['again']} of {counts['seeds']} seeds dropped: exact duplicates": counts["again"],
        f"{counts['another']} of {counts['seeds']} seeds dropped: same prompt as an earlier seed, different answer": (
            counts["another"]
        ),
        f"{counts['wrong']} rows dropped: invalid (first: {fault})": counts["wrong"],
    }
    return [sentence for sentence, count in found.items() if count]


def split(
    seeds: Sequence[Seed], validation: int, held_out: int, seed: int
) -> tuple[list[Seed], list[Seed], list[Seed]]:
    """(training, validation, held-out): disjoint, at random by the seed and each prompt's content.

    Neither the order of the seeds nor the size of `validation` changes what is held out.

    Raises:
        ValueError: there are too few.
    """
    assert len({s.messages for s in seeds}) == len(seeds), "a repeated prompt could be on both sides"
    if validation + held_out >= len(seeds):
        raise ValueError(
            f"the seed has {len(seeds)} prompts: too few to set aside {validation} for validation and {held_out} held "
            "out; lower seed.validation and seed.held_out or name files for them"
        )
    mixed = shuffled(seeds, seed)
    return mixed[held_out + validation :], mixed[held_out : held_out + validation], mixed[:held_out]


def shuffled(seeds: Sequence[Seed], seed: int) -> list[Seed]:
    """Seeds in a random order set by the seed and each prompt's content alone: the first k are a fair sample."""
    return sorted(seeds, key=lambda s: content_hash([seed, s.messages]))


def rows_of(
    source: str | Path, notes: list[str] | None = None, *, every_split: bool = False
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(location, row) of a file, of the files of a folder, or of a hub data set.

    Once all are read, `notes` has sentences on the files or splits that were read and left out. Of several splits only
    `train` is read, unless all files are wanted.

    Raises:
        ValueError: says which file or line cannot be read.
    """
    said: list[str] = []
    if isinstance(source, str) and not source.strip():  # it would be the working directory, with every file in it
        raise ValueError("the seed's path is empty; give a file, a folder ('.' for this one) or a hub data set")
    if isinstance(source, str) and is_hub_name(source):
        yield from hub_rows(source, said)
    else:
        yield from _rows_here(Path(source).expanduser(), said, every_split)
    if notes is not None:
        notes += [f"{source}: {sentence}" for sentence in said]


def _rows_here(path: Path, said: list[str], every_split: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    files, left = files_to_read(path, SUFFIXES, every_split=every_split) if path.is_dir() else ([path], [])
    counts = Counter[str]()
    for file in files:
        if not file.exists():
            raise ValueError(f"{file}: no such file or folder")
        if not file.name.endswith(SUFFIXES):
            raise ValueError(f"{file}: allowed endings of a seed file are {', '.join(SUFFIXES)}")
        reader = _parquet_rows if file.suffix == ".parquet" else _json_rows
        counts[file.name] = 0
        for where, row in reader(file):
            if not isinstance(row, Mapping):
                raise ValueError(f"{where}: must be an object with {FORMS}")
            counts[file.name] += 1
            yield where, cast(Mapping[str, Any], row)
    said += [*rows_by_file(counts), *left]


def _json_rows(file: Path) -> Iterator[tuple[str, Any]]:
    try:
        data = content_of(file)
        check_utf8(data, str(file))
        text = data.decode("utf-8-sig")  # some editors start a file with a byte order mark
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{file} line {line}: is not UTF-8 text (byte {error.start} of the file)") from error
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
        return parsed(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, " if "\n" in text else ""
        raise ValueError(f"{where}: is not valid JSON ({error.msg}, {place}column {error.colno})") from error
    except (ValueError, RecursionError) as error:  # a number with too many digits, or nesting too deep
        raise ValueError(f"{where}: cannot be read as JSON ({first_line(error)})") from error


def _parquet_rows(file: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow.parquet as pq

    check_regular(file)
    try:
        table = cast(Any, pq).read_table(file)
        names = cast("list[str]", table.column_names)
    except Exception as error:  # pyarrow raises errors of many types
        raise ValueError(f"{file}: is not a Parquet file that can be read ({first_line(error)})") from error
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{file}: has the column {twice[0]} twice")
    columns = [_column(table.column(name), table.num_rows) for name in names]
    rows = zip(*columns, strict=True)
    yield from (
        (f"{file} row {number}", dict(zip(names, row, strict=True))) for number, row in enumerate(rows, start=1)
    )


class UnreadableColumn:
    """The values of a column that Python cannot hold, such as a time in nanoseconds: fine where it is not used."""


def _column(column: Any, rows: int) -> list[Any]:
    try:
        return cast("list[Any]", column.to_pylist())
    except Exception:  # times and decimals each fail in their own way
        return [UnreadableColumn()] * rows


def _seed(row: Mapping[str, Any], where: str, need_response: bool) -> tuple[Seed, set[str], frozenset[str]]:
    """The seed of a row, and the columns and the keys of messages that were not used."""
    form = next((form for first, form in COLUMNS.items() if row.get(first) is not None), None)
    if form is None:
        raise ValueError(f"{where}: has the columns {', '.join(map(str, row)) or 'none'}; allowed: {FORMS}")
    if form[0] == "messages":
        turns, system = with_system(row, row["messages"], where)
    else:
        turns, system = with_system(row, asked(row, form[0], where), where)
        response = text_of(row, form[-1], where, required=need_response)
        turns = [*turns, {"role": "assistant", "content": response}] if response.strip() else turns
    found = conversation(turns, where, need_response=need_response)
    seed = Seed(messages=found.messages, response=found.response)
    repeated = [name for name, value in row.items() if any(value == message.content for message in found.messages)]
    return seed, unused(row, (*form, *system, *repeated)), found.left_out
