"""What a run's time went into: kinds of stages, and the seconds of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selfboost import store

KINDS: tuple[str, ...] = ("sampling", "scoring", "training", "measuring")
"""Kinds of stages, in the order in which they are shown."""
WORK: Mapping[str, str] = {"sample": "sampling", "score": "scoring", "finetune": "training", "prefer": "training"}
"""Verb → kind of work; `measure` itself costs next to nothing."""


def by_kind(cards: Sequence[store.StageCard]) -> Mapping[str, float]:
    """Kind of stage → seconds; what rates a model, samples and scores included, is measuring."""
    total = dict.fromkeys(KINDS, 0.0)
    for card in cards:
        total[kind_of(card)] += card.seconds
    return total


def kind_of(card: store.StageCard) -> str:
    """The kind of a stage."""
    name = card.name.rpartition("/")[2]
    measuring = name.startswith(("validation-", "held_out-", "measure-")) or "/drift/" in card.name
    return "measuring" if measuring or card.verb == "measure" else WORK.get(card.verb, "sampling")
