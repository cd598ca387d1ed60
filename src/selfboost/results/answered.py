"""The held-out answers by which a model was measured, each with its score; a few of them beside the initial model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfboost import store
from selfboost.records import Answer, Verdict


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The kept parts of a measured answer."""

    prompt: str
    prompt_text: str
    text: str
    finish: str
    tokens: int
    score: float | None


def measured_answers(root: Path, cards: Sequence[store.StageCard], measure: str) -> list[Answered]:
    """Held-out answers: of the stage named after the gate's measure, else of the first one."""
    stages = {c.name.partition("/")[2]: c for c in cards if c.verb == "sample" and "held_out" in c.name}
    name = f"held_out-{measure}" if f"held_out-{measure}" in stages else next(iter(stages), "")
    if not name:
        return []
    scores = next((c for c in cards if c.verb == "score" and c.name.endswith(f"/{name}-scores")), None)
    verdicts = list(store.stored_rows(root, scores, Verdict)) if scores is not None else []
    values: list[float | None] = [verdict.value for verdict in verdicts]
    return [
        Answered(
            prompt=answer.prompt.id,
            prompt_text=answer.prompt.text,
            text=answer.text,
            finish=answer.finish,
            tokens=len(answer.token_ids),
            score=values[i] if i < len(values) else None,
        )
        for i, answer in enumerate(store.stored_rows(root, stages[name], Answer))
    ]


def sample_rows(
    before: Sequence[Answered], after: Sequence[Answered], gold: Mapping[str, str], most: int
) -> list[dict[str, str | float | None]]:
    """Rows of a table: prompt, good answer, and the first answer of the initial model and of this one, with scores.

    Ids are hashes: the smallest are a random draw, the same in every iteration.
    """
    first, own = _by_prompt(before), _by_prompt(after)
    return [
        {
            "prompt_id": prompt,
            "prompt": own[prompt].prompt_text,
            "gold": gold.get(prompt, ""),
            "initial_answer": first[prompt].text if prompt in first else "",
            "initial_score": first[prompt].score if prompt in first else None,
            "answer": own[prompt].text,
            "score": own[prompt].score,
        }
        for prompt in sorted(own)[:most]
    ]


def _by_prompt(answers: Sequence[Answered]) -> dict[str, Answered]:
    """The first answer to each prompt."""
    return {answer.prompt: answer for answer in reversed(answers)}
