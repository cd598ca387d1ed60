"""One verdict per answer where a scorer has reasons of its own, beside failed and empty answers, to give no value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from selfboost.records import Answer, Verdict


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
