"""Attention by blocks of queries: exact, without padding, each block against the keys that its queries may see.

Probabilities are kept for the backward pass while they are few, and recomputed where they are many.

Shapes: H query heads, K key heads, G = H/K, T tokens of a pack, D head size; n queries and m keys of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from selfboost.train.packs.layout import Pack, Span, Tree

QUERIES = 128
"""Queries per block."""
KEPT_ELEMENTS = 2**23
"""Most probabilities of one layer that are kept for the backward pass."""


@dataclass(frozen=True)
class Scoring:
    """How attention scores follow from queries and keys."""

    scale: float
    window: int | None
    """How many tokens a query sees, itself included; None: all before it."""
    softcap: float
    """Scores x become c·tanh(x/c); 0 = no cap."""


@dataclass(frozen=True)
class Block:
    """Adjacent queries of a row, and all keys that any of them may see, in row order."""

    queries: Span
    keys: tuple[Span, ...]
    first: int
    """Place of the first query among the keys."""

    @property
    def shape(self) -> tuple[int, int]:
        """Queries and keys."""
        return len(self.queries), sum(len(span) for span in self.keys)


def blocks_of(trees: Sequence[Tree], window: int | None) -> Iterator[Block]:
    """The blocks of a pack; every query is in exactly one."""
    for tree in trees:
        yield from _of_row(Span(tree.prompt.start, tree.prompt.start), tree.prompt, window)
        for completion in tree.completions:
            yield from _of_row(tree.prompt, completion, window)


def _of_row(before: Span, own: Span, window: int | None) -> Iterator[Block]:
    for start in range(own.start, own.end, QUERIES):
        queries = Span(start, min(own.end, start + QUERIES))
        place = len(before) + start - own.start
        unseen = max(0, place + 1 - window) if window else 0
        seen = (
            Span(min(before.end, before.start + unseen), before.end),
            Span(own.start + max(0, unseen - len(before)), queries.end),
        )
        yield Block(queries, tuple(span for span in seen if len(span)), place - unseen)


def attend_by_blocks(query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, pack: Pack, scoring: Scoring) -> Tensor:
    """softmax(q·kᵀ·scale)·v for every query of a pack, shape (T, H, D)."""
    return cast(Tensor, cast(Any, _BlockAttention).apply(query_HTD, key_KTD, value_KTD, pack.trees, scoring))


def _exact(*tensors: Tensor) -> list[Tensor]:
    """In float32 at least on a CPU: as fast there, where bfloat16 products of ever new sizes start slowly."""
    return [x if x.is_cuda else x.to(torch.promote_types(x.dtype, torch.float32)) for x in tensors]


class _BlockAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, trees: tuple[Tree, ...], scoring: Scoring
    ) -> Tensor:
        inputs = (query_HTD, key_KTD, value_KTD)
        heads, tokens, _ = query_HTD.shape
        output_THD = query_HTD.new_zeros(tokens, heads, value_KTD.shape[-1])
        query_HTD, key_KTD, value_KTD = _exact(query_HTD, key_KTD, value_KTD)
        blocks = list(blocks_of(trees, scoring.window))
        keep = heads * sum(n * m for n, m in (block.shape for block in blocks)) <= KEPT_ELEMENTS
        kept: list[Tensor] = []
        for block in blocks:
            softmax = _softmax(_fold(query_HTD, block, len(key_KTD)), _take(key_KTD, block.keys), block, scoring)
            output = torch.bmm(softmax, _take(value_KTD, block.keys)).view(heads, len(block.queries), -1)
            output_THD[block.queries.start : block.queries.end] = output.transpose(0, 1)
            kept += [softmax] if keep else []
        ctx.save_for_backward(*inputs, *kept)
        ctx.blocks, ctx.scoring = blocks, scoring
        return output_THD

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        blocks, saved = cast("list[Block]", ctx.blocks), cast("tuple[Tensor, ...]", ctx.saved_tensors)
        query_HTD, key_KTD, value_KTD, outer_THD = _exact(*saved[:3], gradients[0])
        kept = saved[3:] or [None] * len(blocks)
        kind, outer_HTD, scoring = gradients[0].dtype, outer_THD.transpose(0, 1), cast(Scoring, ctx.scoring)
        query_gradient_HTD = torch.zeros_like(query_HTD)
        key_gradient_KTD, value_gradient_KTD = torch.zeros_like(key_KTD), torch.zeros_like(value_KTD)
        for block, known in zip(blocks, kept, strict=True):
            query, key = _fold(query_HTD, block, len(key_KTD)), _take(key_KTD, block.keys)
            softmax = _softmax(query, key, block, scoring) if known is None else known
            outer = _fold(outer_HTD, block, len(key_KTD))
            slope = torch.bmm(outer, _take(value_KTD, block.keys).transpose(1, 2))
            slope = torch.ops.aten._softmax_backward_data(slope, softmax, -1, slope.dtype)
            if scoring.softcap:
                slope = (slope * _bend(query, key, scoring)[1]).to(slope.dtype)
            here = slice(block.queries.start, block.queries.end)
            query_gradient_HTD[:, here] = torch.bmm(slope, key).view(len(query_HTD), len(block.queries), -1)
            _add(key_gradient_KTD, block.keys, torch.bmm(slope.transpose(1, 2), query))
            _add(value_gradient_KTD, block.keys, torch.bmm(softmax.transpose(1, 2), outer))
        made = (query_gradient_HTD.mul_(scoring.scale), key_gradient_KTD.mul_(scoring.scale), value_gradient_KTD)
        return *(gradient.to(kind) for gradient in made), None, None


def _softmax(query: Tensor, key: Tensor, block: Block, scoring: Scoring) -> Tensor:
    """Softmax over the keys of each query, (K, G·n, m), in the number type of the queries."""
    n, m = block.shape
    mask = _mask(n, m, query.shape[1] // n, block.first, scoring.window, query.dtype, query.device)
    if scoring.softcap:
        return (_bend(query, key, scoring)[0] + mask).softmax(-1).to(query.dtype)
    return torch.baddbmm(mask, query, key.transpose(1, 2), alpha=scoring.scale).softmax(-1)


def _bend(query: Tensor, key: Tensor, scoring: Scoring) -> tuple[Tensor, Tensor]:
    """Soft-capped scores, and their slope in the scores before."""
    scores = torch.bmm(query, key.transpose(1, 2))
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).mul_(scoring.scale / scoring.softcap)
    bent = scores.tanh_()
    return bent * scoring.softcap, 1 - bent.square()


def _fold(x_HTD: Tensor, block: Block, key_heads: int) -> Tensor:
    """A block's queries, with query heads folded onto the key head that they share: (K, G·n, D)."""
    x_HnD = x_HTD[:, block.queries.start : block.queries.end]
    return x_HnD if len(x_HnD) == key_heads else x_HnD.reshape(key_heads, -1, x_HnD.shape[-1])


def _take(x_KTD: Tensor, spans: Sequence[Span]) -> Tensor:
    parts = [x_KTD[:, span.start : span.end] for span in spans]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _add(into_KTD: Tensor, spans: Sequence[Span], values_KmD: Tensor) -> None:
    start = 0
    for span in spans:
        into_KTD[:, span.start : span.end] += values_KmD[:, start : start + len(span)]
        start += len(span)


@lru_cache(maxsize=256)
def _mask(
    n: int, m: int, groups: int, first: int, window: int | None, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """−∞ where a query does not see a key, else 0; shape (G·n, m)."""
    behind_nm = torch.arange(first, first + n, device=device)[:, None] - torch.arange(m, device=device)
    sees_nm = (behind_nm >= 0) if window is None else (behind_nm >= 0) & (behind_nm < window)
    return torch.zeros(n, m, dtype=dtype, device=device).masked_fill_(~sees_nm, float("-inf")).repeat(groups, 1)
