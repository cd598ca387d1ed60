"""Shared by the scorers that run a model: which answers it can judge, and a reason for each one it cannot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from selfboost.records import Answer, Verdict


def fault(answer: Answer) -> str:
    """Why a model cannot judge this answer; empty if it can."""
    if answer.finish == "failed":
        return f"the answer failed: {answer.reason or 'no reason given'}"
    return "" if answer.token_ids else "the answer is empty"


def judgeable(answers: Sequence[Answer]) -> list[Answer]:
    """The answers that a model can judge."""
    return [answer for answer in answers if not fault(answer)]


def reasoned_verdicts(
    answers: Sequence[Answer], scorer: str, reasons: Sequence[str], values: Iterable[float]
) -> Iterator[Verdict]:
    """One verdict per answer, in order; `values` are, in order, those of the answers whose reason is empty."""
    source = iter(values)
    for answer, reason in zip(answers, reasons, strict=True):
        why, value = reason, None if reason else next(source)
        if value is not None and not math.isfinite(value):
            why, value = f"the score is not finite ({value})", None
        yield Verdict(answer=answer.id, scorer=scorer, value=value, reason=why)
    assert next(source, None) is None, "a value for each answer without a reason, and no more"
