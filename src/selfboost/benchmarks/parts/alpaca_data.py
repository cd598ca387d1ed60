"""AlpacaEval's instructions and a baseline's outputs, from the user's files in their published form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfboost.benchmarks.parts.length_control import INSTRUCTIONS
from selfboost.data.rows import rows_of
from selfboost.records import Origin, Prompt, content_hash, user_prompt


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """An instruction, and the baseline's output for it."""

    prompt: Prompt
    output: str
    generator: str
    """The baseline's name."""


def read_instructions(prompts: str, baseline: str, column: str, limit: int) -> list[Instruction]:
    """All instructions in file order, or `limit` of them, drawn by their hash.

    Raises:
        ValueError: a file can't be read, lacks a column, or does not hold AlpacaEval's instructions each once.
    """
    asked = {_text(row, "instruction", where): (where, row) for where, row in rows_of(prompts)}
    rows = {_text(row, "instruction", where): (where, row) for where, row in rows_of(baseline)} if baseline else asked
    if not asked or (len(asked) != INSTRUCTIONS and not limit):
        raise ValueError(
            f"benchmark.prompts: {prompts} holds {len(asked)} different instructions, AlpacaEval has {INSTRUCTIONS}; "
            "give the whole published file, or set benchmark.limit to measure on fewer"
        )
    if limit > len(asked):
        raise ValueError(f"benchmark.limit = {limit}: {prompts} holds {len(asked)} instructions; allowed: up to that")
    drawn = sorted(asked, key=content_hash)[: limit or len(asked)]
    chosen = [text for text in asked if text in set(drawn)]
    if lacking := [text for text in chosen if text not in rows]:
        raise ValueError(
            f"benchmark.baseline: {baseline} has no output for {len(lacking)} of {len(chosen)} instructions, the first "
            f"being {lacking[0][:60]!r}"
        )
    found = [_instruction(text, *rows[text], column, baseline or prompts) for text in chosen]
    if len(names := sorted({item.generator for item in found})) > 1:
        raise ValueError(
            f"{baseline or prompts}: holds outputs of {names[0]} and {names[1]}; a win rate needs one baseline"
        )
    return found


def _instruction(text: str, where: str, row: Mapping[str, Any], column: str, source: str) -> Instruction:
    generator = row.get("generator") if column == "output" else column
    return Instruction(
        prompt=user_prompt(text, Origin(source="alpaca_eval")),
        output=_text(row, column, where),
        generator=generator if isinstance(generator, str) and generator else source.rpartition("/")[2],
    )


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    if not isinstance(value := row.get(column), str):
        raise ValueError(f"{where}: needs the column `{column}` with a text; it has {', '.join(row) or 'none'}")
    return value
