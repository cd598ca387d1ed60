"""Runs rows of token ids through a model in padded batches of similar lengths; values come back in row order.

Shapes: R rows of L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import TypeVar

import torch
from torch import Tensor

SizedRow = TypeVar("SizedRow", bound=Sized)


def in_padded_batches(
    blocks: Iterable[Sequence[SizedRow]], tokens: int, compute: Callable[[list[SizedRow]], Sequence[float]]
) -> Iterator[float]:
    """A value for each row, in order; a batch holds at most `batch_tokens` tokens, padding included, or one row.

    The rows of a block are sorted by length together, before any of their values is returned; no batch has rows of two.
    """
    for block in blocks:
        values: dict[int, float] = {}
        for places in _batches([len(row) for row in block], tokens):
            values |= zip(places, compute([block[place] for place in places]), strict=True)
        yield from (values[place] for place in range(len(block)))


def _batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Row indices of each batch, longest rows first, so that running out of memory shows at once."""
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
