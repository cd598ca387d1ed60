"""Which items make an optimiser step, and how a step is cut into micro-batches.

The order depends on the seed alone. Micro-batches are packs of about the same number of tokens.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from random import Random
from typing import TypeVar

from selfboost.train.packs.rows import Item, Row

Value = TypeVar("Value")
WINDOW = 1024
"""Rows packed together when values are computed in order."""


def step_batches(count: int, batch_size: int, epochs: float, seed: int) -> list[list[int]]:
    """Positions of each optimiser step's items: every epoch is reshuffled, the last one is cut where it ends."""
    total = max(1, round(count * epochs))
    generator = Random(seed)
    order: list[int] = []
    while len(order) < total:
        epoch = list(range(count))
        generator.shuffle(epoch)
        order += epoch
    order = order[:total]
    return [order[at : at + batch_size] for at in range(0, total, batch_size)]


def micro_batches(items: Sequence[Item], tokens: int, at_least: int = 1) -> list[list[Item]]:
    """Packs of at most `tokens` tokens, or of one item, as few and as even as greedy filling makes them.

    At least one for each device, if there are enough items.

    The largest comes first, so that running out of memory shows at once, not at the end.
    """
    ordered = sorted(items, key=lambda item: item.shared_tokens, reverse=True)
    count = max(at_least, math.ceil(sum(item.shared_tokens for item in ordered) / tokens))
    while True:
        packs = _filled(ordered, count)
        if all(len(pack) == 1 or sum(item.shared_tokens for item in pack) <= tokens for pack in packs):
            return packs
        count += 1


def _filled(ordered: Iterable[Item], count: int) -> list[list[Item]]:
    """Put each item into the smallest pack; empty packs are left out."""
    packs: list[list[Item]] = [[] for _ in range(count)]
    fills = [(0, at) for at in range(count)]
    for item in ordered:
        fill, at = fills[0]
        packs[at].append(item)
        heapq.heapreplace(fills, (fill + item.shared_tokens, at))
    return [pack for pack in packs if pack]


def _items(rows: Sequence[Row], tokens: int, number: int) -> Iterator[Item]:
    """Rows of one prompt as items of at most `tokens` tokens, or of one row, numbered from `number`."""
    prompt = len(rows[0].prompt_ids)
    group: list[Row] = []
    filled = prompt
    for row in rows:
        if group and filled + len(row.token_ids) > tokens:
            yield Item(str(number), tuple(group))
            group, filled, number = [], prompt, number + 1
        group.append(row)
        filled += len(row.token_ids)
    yield Item(str(number), tuple(group))


def steps_of(count: int, batch_size: int, epochs: float) -> int:
    """Number of optimiser steps of a training."""
    return math.ceil(max(1, round(count * epochs)) / batch_size)


def in_order(rows: Iterable[Row], tokens: int, compute: Callable[[list[Item]], Iterable[Value]]) -> Iterator[Value]:
    """One value per row, in the order of the rows, computed in packs; neighbours with the same prompt share it.

    `compute` returns a value for every row of every item, in order.
    """
    source = iter(rows)
    while window := list(islice(source, WINDOW)):
        items: list[Item] = []
        for _, same in groupby(window, key=lambda row: row.prompt_ids):
            items += _items(list(same), tokens, len(items))
        found: dict[str, list[Value]] = {}
        for pack in micro_batches(items, tokens):
            values = iter(compute(pack))
            found |= {item.id: list(islice(values, len(item.rows))) for item in pack}
        for item in items:
            yield from found[item.id]
