"""MT-Bench's questions of two turns and their reference answers, from the user's files in their published form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from selfboost.benchmarks.parts.mt_bench import REFERENCE_CATEGORIES, TEMPERATURES
from selfboost.data.rows import rows_of
from selfboost.records import content_hash

QUESTIONS = 80
"""Questions of MT-Bench."""


@dataclass(frozen=True, kw_only=True)
class TwoTurns:
    """A question of two turns."""

    id: str
    category: str
    turns: tuple[str, str]
    references: tuple[str, ...]
    """Reference answers to both turns, in the categories whose judge is shown them."""


def read_two_turns(questions: str, references: str, column: str, limit: int) -> list[TwoTurns]:
    """All questions in file order, or `limit` of them, drawn by their hash.

    Raises:
        ValueError: a file can't be read, a row lacks a field, or the questions are not MT-Bench's 80.
    """
    rows = {str(row.get("question_id")): (where, row) for where, row in rows_of(questions)}
    if len(rows) != QUESTIONS and not limit:
        raise ValueError(
            f"benchmark.questions: {questions} holds {len(rows)} different questions, MT-Bench has {QUESTIONS}; give "
            "the whole published file, or set benchmark.limit to measure on fewer"
        )
    if limit > len(rows):
        raise ValueError(f"benchmark.limit = {limit}: {questions} holds {len(rows)} questions; allowed: up to that")
    answers = {str(row.get("question_id")): _answers(row) for _, row in rows_of(references)} if references else {}
    found = [_two_turns(key, where, row, answers.get(key) or row.get(column)) for key, (where, row) in rows.items()]
    if len({item.turns for item in found}) < len(found):
        raise ValueError(f"benchmark.questions: {questions} holds a question twice")
    drawn = set(sorted((item.turns for item in found), key=content_hash)[: limit or len(found)])
    return [item for item in found if item.turns in drawn]


def _answers(row: Mapping[str, Any]) -> Any:
    """The answers to both turns of a row of FastChat's reference_answer files."""
    choices = row.get("choices")
    first = cast("list[Any]", choices)[0] if isinstance(choices, list) and choices else None
    return cast("Mapping[str, Any]", first).get("turns") if isinstance(first, Mapping) else None


def _two_turns(key: str, where: str, row: Mapping[str, Any], references: Any) -> TwoTurns:
    turns, category = _texts(row.get("turns")), row.get("category")
    if len(turns) != 2 or "question_id" not in row:
        raise ValueError(f"{where}: needs `question_id` and two texts in `turns`; it has {', '.join(row) or 'nothing'}")
    if not isinstance(category, str) or category not in TEMPERATURES:
        raise ValueError(f"{where}: category = {category!r}: allowed: {', '.join(TEMPERATURES)}")
    given = _texts(references) if category in REFERENCE_CATEGORIES else ()
    if category in REFERENCE_CATEGORIES and len(given) != 2:
        raise ValueError(
            f"{where}: question {key} ({category}) has no two reference answers, which its judge is shown; give "
            "benchmark.references, or name their column in benchmark.reference_column"
        )
    return TwoTurns(id=key, category=category, turns=(turns[0], turns[1]), references=given)


def _texts(value: Any) -> tuple[str, ...]:
    """The texts of a list; empty if it is anything else."""
    found = tuple(cast("list[Any]", value)) if isinstance(value, list | tuple) else ()
    return found if all(isinstance(each, str) for each in found) else ()
