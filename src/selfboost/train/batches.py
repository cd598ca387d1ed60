"""Which items make an optimiser step, and how a step is cut into micro-batches. Leaves out packing: rows are padded.

The order depends on the seed alone. Micro-batches hold items of similar length, so little is padded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from random import Random
from typing import TypeVar

from selfboost.train.rows import Item, Row

Thing = TypeVar("Thing")
Value = TypeVar("Value")
WINDOW = 1024
"""Rows that are sorted by length together when their values are wanted in order."""


def step_batches(count: int, batch_size: int, epochs: float, seed: int) -> list[list[int]]:
    """Positions of the items of each optimiser step: every epoch shuffled anew, the last one cut where it ends."""
    total = max(1, round(count * epochs))
    generator = Random(seed)
    order: list[int] = []
    while len(order) < total:
        epoch = list(range(count))
        generator.shuffle(epoch)
        order += epoch
    order = order[:total]
    return [order[at : at + batch_size] for at in range(0, total, batch_size)]


def micro_batches(items: Iterable[Item], padded_tokens: int) -> Iterator[list[Item]]:
    """Groups of items of similar length: padded to the longest row, at most so many tokens, or one item."""
    return by_length(items, padded_tokens, lambda item: item.longest, lambda item: len(item.rows))


def by_length(
    things: Iterable[Thing],
    padded_tokens: int,
    length: Callable[[Thing], int],
    rows: Callable[[Thing], int] = lambda _: 1,
) -> Iterator[list[Thing]]:
    """Groups of things of similar length, longest first, so that too long a batch fails at once and not at the end."""
    group: list[Thing] = []
    width, height = 0, 0
    for thing in sorted(things, key=length, reverse=True):
        if group and width * (height + rows(thing)) > padded_tokens:
            yield group
            group = []
        if not group:
            width, height = length(thing), 0
        group.append(thing)
        height += rows(thing)
    if group:
        yield group


def steps_of(count: int, batch_size: int, epochs: float) -> int:
    """Optimiser steps that a training takes."""
    return math.ceil(max(1, round(count * epochs)) / batch_size)


def in_order(
    rows: Iterable[Row], padded_tokens: int, compute: Callable[[list[Row]], Iterable[Value]]
) -> Iterator[Value]:
    """A value of each row, in the order of the rows, computed in batches of similar length among `WINDOW` rows."""
    source = iter(rows)
    while window := list(islice(source, WINDOW)):
        found: dict[int, Value] = {}
        for group in by_length(enumerate(window), padded_tokens, lambda numbered: len(numbered[1])):
            values = compute([row for _, row in group])
            found |= dict(zip((at for at, _ in group), values, strict=True))
        yield from (found[at] for at in range(len(window)))
