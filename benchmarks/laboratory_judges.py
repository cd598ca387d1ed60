"""Judges of a stated accuracy: the world's own check, wrong about a stated share of single answers.

`scorer = {kind = "checks", function = "benchmarks.laboratory_judges:right_in_75"}`. A verdict is a function of prompt
and answer alone: asked again, a judge errs again. Verdicts are right or wrong, so two answers are often tied.
"""

from __future__ import annotations

from collections.abc import Callable

from selfboost import check_function
from selfboost.demo.checks import check
from selfboost.records import content_hash

Judge = Callable[[str, str], bool | None]


def judge(accuracy: float) -> Judge:
    """A judge that is right about this share of the answers, whatever it is asked."""

    @check_function
    def verdict(prompt: str, answer: str) -> bool | None:
        """Whether it holds the answer for right; None where the prompt is no task of the world."""
        right = check(prompt, answer)
        return None if right is None else right is (draw(prompt, answer) < accuracy)

    return verdict


def draw(prompt: str, answer: str) -> float:
    """A number from 0 to 1, the same for the same words in every process: the less accurate judge errs where the more
    accurate one does, and elsewhere."""
    words = [" ".join(prompt.split()), " ".join(answer.split())]
    return int(content_hash(words)[:12], 16) / 16**12


right_in_100 = judge(1.0)
right_in_90 = judge(0.9)
right_in_75 = judge(0.75)
right_in_60 = judge(0.6)
