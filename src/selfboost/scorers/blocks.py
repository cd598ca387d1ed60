"""Where a scoring stage is cut: verdicts are computed, stored and resumed in the same blocks, so a kill changes no bit.

A batch that holds answers from both sides of a cut would round differently once the stage is resumed at the cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from selfboost.records import Answer
from selfboost.scorers.verdicts import fault
from selfboost.train.packs.batches import WINDOW

Part = TypeVar("Part")


def block_ends(answers: Sequence[Answer], *, whole_prompts: bool) -> list[int]:
    """Where blocks end, in ascending order; the last one ends after the last answer.

    A block has as many judgeable answers as the trainer computes together. With `whole_prompts`, as pairwise scorers
    need, it also takes the remaining answers to its last prompt.
    """
    ends: list[int] = []
    judgeable = 0
    for end, answer in enumerate(answers, start=1):
        judgeable += not fault(answer)
        inside = whole_prompts and end < len(answers) and answers[end].prompt.id == answer.prompt.id
        if end == len(answers) or (judgeable >= WINDOW and not inside):
            ends.append(end)
            judgeable = 0
    return ends


def blocks(answers: Sequence[Answer], parts: Sequence[Part], *, whole_prompts: bool) -> Iterator[Sequence[Part]]:
    """The blocks of a sequence that has one part for each answer."""
    start = 0
    for end in block_ends(answers, whole_prompts=whole_prompts):
        yield parts[start:end]
        start = end
