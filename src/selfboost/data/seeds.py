"""Reads a seed: prompts with good answers, from the rows of a file, a folder or a hub data set.

Columns are recognised or named (`columns`). Repeated prompts and rows with an empty answer are dropped and counted,
other columns left out and counted. Anything else that is invalid raises one sentence with its file and line; in a hub
data set, which the user cannot fix, an invalid row after a valid one is dropped and counted too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from selfboost.data.columns import NAMING, RECOGNISE, Columns, Form, form_of, is_empty
from selfboost.data.conversations import (
    Conversation,
    LeftOut,
    NoAnswer,
    NotTrained,
    answer_is_empty,
    asked,
    conversation,
    text_of,
    to_first_answer,
    turns_in,
    unused,
    with_system,
)
from selfboost.data.hub_data import is_hub_name
from selfboost.data.rows import columns_in_words, rows_of
from selfboost.records import Message, content_hash, dialogue, spoken

ASKED = ("question", "query", "turns", "ctx")
"""Columns where benchmarks keep their questions, as a text or a list of texts, besides the forms of seeds."""
PLAIN = ("", "prompt", "prompt/response", "instruction", "instruction/output", "messages")
"""Forms that need no word, where all rows have them."""
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
    source: str | Path, *, need_response: bool = True, turns: Turns = "last", columns: Columns = RECOGNISE
) -> tuple[list[Seed], list[str]]:
    """All seeds of a file, a folder or a hub data set, each prompt once, and sentences on what was dropped or ignored.

    `turns`: whether a conversation is used whole or only up to the assistant's first answer. `columns`: what the rows'
    columns hold, as far as it is not recognised.

    Raises:
        ValueError: says which file, line and field is wrong and what is allowed.
    """
    hub = isinstance(source, str) and is_hub_name(source)
    notes: list[str] = []
    reading = Reading(need_response=need_response, turns=turns, columns=columns)
    seeds, more = gather_seeds(rows_of(source, notes), source, reading, drop_wrong=hub)
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
            found += question_texts([Reading(need_response=False, guess=True).seed(row, where)])
        else:
            turns = [row[column]] if isinstance(row[column], str) else cast("list[Any]", row[column])
            found += [turn for turn in turns if isinstance(turn, str)]
    if not found:
        raise ValueError(f"{source}: contains no prompts")
    return found


class Reading:
    """Makes seeds of rows, and counts what they hold."""

    def __init__(
        self, *, need_response: bool, turns: Turns = "last", columns: Columns = RECOGNISE, guess: bool = False
    ) -> None:
        self._need_response, self._turns, self._columns, self._guess = need_response, turns, columns, guess
        self._forms, self._inputs, self._counts = Counter[str](), Counter[str](), Counter[str]()
        self._left_out = LeftOut()
        self._empty = ""

    def seed(self, row: Mapping[str, Any], where: str) -> Seed:
        """The seed of a row.

        Raises:
            ValueError: it is invalid, or it is not clear how to read it; says where.
            NoAnswer: its answer is empty.
            NotTrained: it says itself that its answer must not be trained.
        """
        form = form_of(row, where, self._columns)
        if form.unclear and not self._guess:
            raise ValueError(form.unclear)
        whole = self._turns_of(row, form, where)
        said = to_first_answer(whole) if self._turns == "first" and form.messages else whole
        self._counts["cut"] += said is not whole and len(said) < len(whole)
        if answer_is_empty(said):
            if self._need_response:
                self._empty = self._empty or where
                self._counts["empty"] += 1
                raise NoAnswer
            said = said[:-1]
        said, system = with_system(row, said, where, form.system)
        try:
            found = conversation(said, where, need_response=self._need_response)
        except NotTrained:
            self._left_out.not_trained += 1
            raise
        self._count(row, form, found, system)
        return Seed(messages=found.messages, response=found.response)

    def sentences(self) -> list[str]:
        """What the rows held that the user must know."""
        rows, counts = self._left_out.rows, self._counts
        told = [f"{form} in {count:,}" for form, count in self._forms.items()]
        plain = self._columns.named or self._forms.keys() <= set(PLAIN)
        used = "the last answer is the good one, those before it are context"
        dropped = f"{counts['empty']:,} {'row' if counts['empty'] == 1 else 'rows'} dropped"
        found = {
            f"{dropped}: the answer is empty (first: {self._empty})": counts["empty"],
            f"rows of several forms: {', '.join(told)}": len(told) > 1,
            f"columns read: {next(iter(self._forms), '')}": len(told) == 1 and not plain,
            **{f"{name} ends the prompt in {n:,} of {rows:,} rows": n for name, n in self._inputs.items()},
            f"a system message in {counts['system']:,} of {rows:,} rows": counts["system"],
            f"{counts['talk']:,} of {rows:,} rows are conversations of several turns: {used}": counts["talk"],
            f"{counts['cut']:,} of {rows:,} rows are conversations cut after the first answer": counts["cut"],
        }
        return [*(sentence for sentence, count in found.items() if count), *self._left_out.sentences()]

    def _turns_of(self, row: Mapping[str, Any], form: Form, where: str) -> Any:
        """The row's messages, its answer last if it has one."""
        if form.messages:
            return turns_in(row[form.messages])
        turns = turns_in(asked(row, form.prompt, where, form.input))
        if not form.response:
            if self._need_response:
                there = columns_in_words(row)
                raise ValueError(f"{where}: no answer is recognised among the columns {there}; name it with {NAMING}")
            return turns
        value = row[form.response]
        answer = value if is_empty(value) else text_of(row, form.response, where)
        return [*turns, {"role": "assistant", "content": answer}]

    def _count(self, row: Mapping[str, Any], form: Form, found: Conversation, system: frozenset[str]) -> None:
        self._forms[str(form)] += 1
        if form.input and form.input != "input":
            self._inputs[form.input] += 1
        self._counts["system"] += found.messages[0].role == "system"
        self._counts["talk"] += sum(message.role == "user" for message in found.messages) > 1
        texts = {message.content for message in found.messages}
        repeated = [name for name, value in row.items() if isinstance(value, str) and value in texts]
        used = {*form.used - {form.system}, *system, *repeated}
        self._left_out.add(unused(row, used), found.left_out)


def gather_seeds(
    rows: Iterable[tuple[str, Mapping[str, Any]]], source: str | Path, reading: Reading, *, drop_wrong: bool
) -> tuple[list[Seed], list[str]]:
    """The seeds of rows, as `read_seeds`. `drop_wrong`: after a first valid row, invalid ones are dropped and counted.

    Raises:
        ValueError: a row is invalid, or there are no rows with an answer.
    """
    seeds: dict[tuple[Message, ...], Seed] = {}
    counts = Counter[str]()
    fault = ""
    for where, row in rows:
        try:
            seed = reading.seed(row, where)
        except (NoAnswer, NotTrained):
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
    sentences = [*_notes(counts, fault), *reading.sentences()]
    if not seeds:
        raise ValueError(f"{source}: contains no seeds{f' ({sentences[0]})' if sentences else ''}")
    return list(seeds.values()), [f"{source}: {sentence}" for sentence in sentences]


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
