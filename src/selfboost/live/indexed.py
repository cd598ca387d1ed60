"""What of a record a reader may want: its texts, and facts beside them. A record's kind is told by its fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from selfboost.disk.record_files import parse_line
from selfboost.records import Answer, Example, Pair, Prompt, Rated, Verdict

Facts = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """A record with texts: one row of the index."""

    kind: str
    key: str
    """Rows of the same kind and key are one row: a pair may be trained on in several stages."""
    prompt_id: str
    prompt: str
    answer: str
    other: str = ""
    """The rejected answer of a pair."""
    facts: Facts


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A verdict on the answer in the same place of another stage."""

    value: float | None
    reason: str


KINDS: Mapping[str, type[Any]] = {"chosen": Pair, "values": Rated, "text": Answer, "value": Verdict, "answer": Example}
"""A field that tells the kind of record; of several the first does."""


def kind_of(line: bytes) -> type[Any] | None:
    """The kind of record in a line; None where it is none that is known."""
    try:
        found: object = from_json(line)
    except ValueError:
        return None
    return next((kind for name, kind in KINDS.items() if isinstance(found, dict) and name in found), None)


def read_record(line: bytes, kind: type[Any], path: Path, number: int, place: str) -> Indexed | Scored | Rated:
    """What a line holds for the index; `place` names it.

    Raises:
        ValueError: it is no such record.
    """
    record = parse_line(line, kind, path, number)
    return record if isinstance(record, Rated) else _READERS[kind](record, place)


def _answer(answer: Answer, place: str) -> Indexed:
    facts = {**_told(answer), "source": answer.prompt.origin.source}
    return Indexed(
        kind="answer",
        key=place,
        prompt_id=answer.prompt.id,
        prompt=_asked(answer.prompt),
        answer=answer.text,
        facts=facts,
    )


def _example(example: Example, place: str) -> Indexed:
    return Indexed(
        kind="example",
        key=place,
        prompt_id=example.prompt.id,
        prompt=_asked(example.prompt),
        answer=example.answer.text,
        facts={**_told(example.answer), "source": example.prompt.origin.source},
    )


def _pair(pair: Pair, _place: str) -> Indexed:
    origin = pair.prompt.origin
    facts: Facts = {
        "id": pair.id,
        "source": origin.source,
        "keywords": list(origin.keywords),
        "scorer": pair.scorer,
        "gap": pair.gap,
        "chosen": {**_told(pair.chosen), "score": pair.chosen_score},
        "rejected": {**_told(pair.rejected), "score": pair.rejected_score},
    }
    return Indexed(
        kind="pair",
        key=pair.id,
        prompt_id=pair.prompt.id,
        prompt=_asked(pair.prompt),
        answer=pair.chosen.text,
        other=pair.rejected.text,
        facts=facts,
    )


def _verdict(verdict: Verdict, _place: str) -> Scored:
    return Scored(value=verdict.value, reason=verdict.reason)


def _told(answer: Answer) -> Facts:
    given = answer.model == "given"
    return {
        "by": "the data" if given else answer.model_name,
        "tokens": len(answer.token_ids),
        "finish": "" if given else answer.finish,
        "reason": answer.reason,
    }


def _asked(prompt: Prompt) -> str:
    return prompt.conversation + (f"\n\nAssistant begins: {prompt.prefix}" if prompt.prefix else "")


_READERS: Mapping[type[Any], Callable[[Any, str], Indexed | Scored]] = {
    Answer: _answer,
    Example: _example,
    Pair: _pair,
    Verdict: _verdict,
}
