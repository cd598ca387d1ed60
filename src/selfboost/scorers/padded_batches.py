"""Rows of token ids through a model in padded batches of similar lengths, their values back in the order of the rows.

Shapes: R rows of L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

SizedRow = TypeVar("SizedRow", bound=Sized)
WINDOW = 256
"""Rows that are sorted by length together: what a value may wait for."""


def in_padded_batches(
    rows: Iterable[SizedRow], tokens: int, compute: Callable[[list[SizedRow]], Sequence[float]]
) -> Iterator[float]:
    """A value of each row, in order; a batch holds at most so many tokens, padding included, or one row."""
    source = iter(rows)
    while window := list(islice(source, WINDOW)):
        values: dict[int, float] = {}
        for places in _batches([len(row) for row in window], tokens):
            values |= zip(places, compute([window[place] for place in places]), strict=True)
        yield from (values[place] for place in range(len(window)))


def _batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Places of the rows of each batch, the longest first: what does not fit the memory fails at once."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place], reverse=True):
        if batch and (len(batch) + 1) * lengths[batch[0]] > tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def right_padded(rows: Sequence[Sequence[int]], padding: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask (1 where a token is real), both of shape (R, L)."""
    width = max(len(row) for row in rows)
    ids = [[*row, *[padding] * (width - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
