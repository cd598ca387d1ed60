"""What a run's new pairs are made of, judged by the world's own checks, which no training sees: why a result is so.

Prompts that the checks cannot judge (the generator wrote no task of the world) are left out and counted as invalid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from selfboost import store
from selfboost.demo.checks import check
from selfboost.records import Answer, Pair

Record = TypeVar("Record")
DRAFTS, CHOSEN = ("drafts", "answers", "own-answers"), ("refined", "resampled")
"""Stages that hold the policy's own answers; those that hold what may become the chosen one."""


@dataclass(frozen=True, kw_only=True)
class PairQuality:
    """Shares of one iteration, None where the method has no such answers."""

    valid: float | None
    """Of the pairs, those whose prompt is a task that can be checked."""
    drafts: float | None
    """Of the policy's own answers to the new prompts, those that pass."""
    improved: float | None
    """Of the improver's rewrites (or second answers), those that pass."""
    right: float | None
    """Of the valid pairs, those whose chosen answer passes and whose rejected one fails."""
    wrong: float | None
    """Of the valid pairs, those where it is the other way round."""


def pair_quality(root: Path, iteration: int) -> PairQuality:
    """Judge the new pairs of an iteration and what they were made from."""
    place = f"iteration-{iteration}"
    own = read_stages(root, [f"{place}/{name}" for name in DRAFTS], Answer)
    better = read_stages(root, [f"{place}/{name}" for name in CHOSEN], Answer)
    pairs = [pair for pair in read_stages(root, [f"{place}/policy"], Pair) if pair.iteration == iteration]
    verdicts = [(_passes(pair, pair.chosen), _passes(pair, pair.rejected)) for pair in pairs]
    valid = [(bool(chosen), bool(rejected)) for chosen, rejected in verdicts if None not in (chosen, rejected)]
    asked = [answer.prompt.text for answer in own] if len(own) == len(better) else []
    return PairQuality(
        valid=_share([None not in verdict for verdict in verdicts]),
        drafts=_share([check(answer.prompt.text, answer.text) for answer in own]),
        improved=_share([check(text, answer.text) for text, answer in zip(asked, better, strict=False)]),
        right=_share([chosen and not rejected for chosen, rejected in valid]),
        wrong=_share([rejected and not chosen for chosen, rejected in valid]),
    )


def _passes(pair: Pair, answer: Answer) -> bool | None:
    return check(pair.prompt.text, answer.text)


def _share(verdicts: Iterable[bool | None]) -> float | None:
    known = [verdict for verdict in verdicts if verdict is not None]
    return sum(known) / len(known) if known else None


def read_stages(root: Path, stages: Sequence[str], kind: type[Record]) -> list[Record]:
    """The records of those of a run's stages that are there; a fine-tuning holds no pairs."""
    cards = [store.read_card(root / store.STAGES / stage) for stage in stages]
    found: list[Any] = []
    for card in cards:
        if card is not None and (kind is not Pair or card.verb == "prefer"):
            found += store.read_rows(root, card, kind)
    return found
