"""Arena-Hard's questions and a baseline's answers, from the user's files, in the forms of v0.1 and v2.0 or as columns.

v0.1: question_id, turns [{content}]; answers: choices [{turns [{content}]}]. v2.0: uid, prompt; answers: messages, the
assistant's last. Or one file whose rows hold the answers of a baseline in a column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from selfboost.data.rows import rows_of
from selfboost.records import Origin, Prompt, content_hash, user_prompt


@dataclass(frozen=True, kw_only=True)
class ArenaQuestion:
    """A question, and the baseline's answer."""

    prompt: Prompt
    answer: str
    baseline: str
    """The baseline's name."""


def read_questions(questions: str, baseline: str, column: str, limit: int) -> list[ArenaQuestion]:
    """All questions in file order, or `limit` of them, drawn by their hash.

    Raises:
        ValueError: a file can't be read, a row lacks a field, a question occurs twice or has no answer.
    """
    rows = {_id(row, where): (where, row) for where, row in rows_of(questions)}
    texts = {key: _asked(row, where) for key, (where, row) in rows.items()}
    if len(set(texts.values())) < len(texts) or not texts:
        raise ValueError(f"benchmark.questions: {questions}: holds {'a question twice' if texts else 'no questions'}")
    if limit > len(texts):
        raise ValueError(f"benchmark.limit = {limit}: {questions} holds {len(texts)} questions; allowed: up to that")
    answers = rows if column else {_id(row, where): (where, row) for where, row in rows_of(baseline)}
    drawn = set(sorted(texts, key=lambda key: content_hash(texts[key]))[: limit or len(texts)])
    chosen = [key for key in texts if key in drawn]
    if lacking := [key for key in chosen if key not in answers]:
        raise ValueError(
            f"benchmark.baseline: {baseline} answers {len(chosen) - len(lacking)} of {len(chosen)} questions; the "
            f"first without an answer is {lacking[0]}"
        )
    found = [_question(texts[key], *answers[key], column) for key in chosen]
    if len(names := sorted({each.baseline for each in found})) > 1:
        raise ValueError(
            f"benchmark.baseline: {baseline} holds answers of {names[0]} and {names[1]}; give one baseline"
        )
    return found


def _question(text: str, where: str, row: Mapping[str, Any], column: str) -> ArenaQuestion:
    name = column or row.get("model") or row.get("model_id") or "the baseline"
    return ArenaQuestion(
        prompt=user_prompt(text, Origin(source="arena_hard")), answer=_answer(row, where, column), baseline=str(name)
    )


def _id(row: Mapping[str, Any], where: str) -> str:
    found = row.get("uid", row.get("question_id"))
    if not isinstance(found, str | int):
        raise ValueError(f"{where}: needs `uid` or `question_id`; it has {', '.join(row) or 'nothing'}")
    return str(found)


def _asked(row: Mapping[str, Any], where: str) -> str:
    found = row.get("prompt") or _said(row.get("turns"), 0)
    if not isinstance(found, str) or not found.strip():
        raise ValueError(f"{where}: needs the question in `prompt` or `turns`; it has {', '.join(row)}")
    return found


def _answer(row: Mapping[str, Any], where: str, column: str) -> str:
    if column:
        found = row.get(column)
    else:
        first = row.get("choices")
        choice = cast("list[Any]", first)[0] if isinstance(first, list) and first else None
        turns = cast("Mapping[str, Any]", choice).get("turns") if isinstance(choice, Mapping) else None
        found = _said(row.get("messages"), -1) or _said(turns, 0)
    if not isinstance(found, str):
        places = f"`{column}`" if column else "`messages` or `choices`"
        raise ValueError(f"{where}: needs the baseline's answer in {places}; it has {', '.join(row)}")
    return found


def _said(turns: Any, at: int) -> Any:
    """The text of a turn, which may be under `content` and, in v2.0, `answer` inside it."""
    found: Any = cast("list[Any]", turns)[at] if isinstance(turns, list) and turns else None
    for name in ("content", "answer"):
        found = cast("Mapping[str, Any]", found).get(name) if isinstance(found, Mapping) else found
    return found
