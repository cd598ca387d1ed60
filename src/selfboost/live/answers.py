"""Held-out answers of two models of a run side by side: prompts better, equal and worse by the measure that decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfboost.live.texts import TextIndex
from selfboost.measures import Measure
from selfboost.views.sentences import mark, value_of
from selfboost.views.summary import RunSummary

OUTCOMES = ("better", "worse", "equal")


@dataclass(frozen=True, kw_only=True)
class AnswersWanted:
    """Which answers are asked for."""

    run: str
    before: int
    after: int
    outcome: str = ""
    query: str = ""
    offset: int = 0
    limit: int = 20


def side_by_side(
    texts: TextIndex, summary: RunSummary, gold: Mapping[str, str], wanted: AnswersWanted
) -> dict[str, Any]:
    """Prompts with both models' answers, and how many there are of each outcome."""
    stages = [f"iteration-{number}/{sampled(summary, number)}" for number in (wanted.before, wanted.after)]
    numbers = (wanted.before, wanted.after)
    rated = [
        texts.ratings(wanted.run, f"iteration-{number}/measure-held_out", summary.gate_measure) for number in numbers
    ]
    outcomes = {
        prompt: outcome_of(old, rated[1][prompt], summary.gate)
        for prompt, old in rated[0].items()
        if prompt in rated[1]
    }
    found = set(outcomes)
    if wanted.query.strip():
        found &= texts.prompts_with(wanted.run, stages, wanted.query) | _with_gold(gold, wanted.query)
    shown = [p for p, outcome in outcomes.items() if p in found and wanted.outcome in ("", outcome)]
    page = shown[wanted.offset : wanted.offset + wanted.limit]
    answers = [_by_prompt(texts.answers(wanted.run, stage, page)) for stage in stages]
    counts = {name: sum(outcomes[prompt] == name for prompt in found) for name in OUTCOMES}
    rows = [_row(p, outcomes[p], rated, answers, gold.get(p), summary.gate) for p in page]
    return {"rows": rows, "total": len(shown), "counts": counts, "gold": bool(gold)}


def outcome_of(old: float, new: float, measure: Measure) -> str:
    """What became of a prompt."""
    change = measure.sign * (new - old)
    return "better" if change > 0 else "worse" if change < 0 else "equal"


def sampled(run: RunSummary, iteration: int) -> str:
    """The stage with the answers that were measured: the one named after the gate's measure, else the first."""
    entry = next((each for each in run.iterations if each.iteration == iteration), None)
    names = [stage.name.partition("/")[2] for stage in entry.stages if stage.verb == "sample"] if entry else []
    held_out = [name for name in names if name.startswith("held_out")]
    wanted = f"held_out-{run.gate_measure}"
    return wanted if wanted in held_out else next(iter(held_out), wanted)


def _row(
    prompt: str,
    outcome: str,
    rated: Sequence[Mapping[str, float]],
    answers: Sequence[Mapping[str, list[dict[str, Any]]]],
    gold: str | None,
    measure: Measure,
) -> dict[str, Any]:
    sides = [
        {
            "mean": value_of(values[prompt], measure),
            "answers": [_answer(answer, measure) for answer in side.get(prompt, [])],
        }
        for values, side in zip(rated, answers, strict=True)
    ]
    asked = next((answer["prompt"] for side in answers for answer in side.get(prompt, [])), "")
    return {"prompt_id": prompt, "prompt": asked, "outcome": outcome, "gold": gold, "sides": sides}


def _answer(answer: Mapping[str, Any], measure: Measure) -> dict[str, Any]:
    score = answer["score"]
    facts = answer["facts"]
    return {
        "text": answer["answer"],
        "score": score,
        "mark": mark(score, measure),
        "unscored": answer["unscored"],
        "tokens": facts["tokens"],
        "finish": facts["finish"],
    }


def _by_prompt(answers: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for answer in answers:
        found.setdefault(answer["prompt_id"], []).append(answer)
    return found


def _with_gold(gold: Mapping[str, str], query: str) -> set[str]:
    words = query.replace('"', " ").casefold().split()
    return {prompt for prompt, text in gold.items() if all(word in text.casefold() for word in words)}
