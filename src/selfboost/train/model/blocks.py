"""Attention piece by piece: exact, nearly without padding, each query against the keys that it may see.

Probabilities are kept for the backward pass while they are few, and recomputed where they are many.

Shapes: H query heads, K key heads, T tokens of a pack, D head size; n queries and m keys of a piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from selfboost.train.model.pieces import Piece, pieces_of
from selfboost.train.packs.layout import Pack

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


def attend_by_blocks(query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, pack: Pack, scoring: Scoring) -> Tensor:
    """softmax(q·kᵀ·scale)·v for every query of a pack, shape (T, H, D)."""
    pieces = pieces_of(pack, scoring.window, len(query_HTD))
    return cast(Tensor, cast(Any, _BlockAttention).apply(query_HTD, key_KTD, value_KTD, pieces, scoring))


def _exact(*tensors: Tensor) -> list[Tensor]:
    """In float32 at least on a CPU: as fast there, where bfloat16 products of ever new sizes start slowly."""
    return [x if x.is_cuda else x.to(torch.promote_types(x.dtype, torch.float32)) for x in tensors]


class _BlockAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, pieces: Sequence[Piece], scoring: Scoring
    ) -> Tensor:
        inputs = (query_HTD, key_KTD, value_KTD)
        heads, tokens, _ = query_HTD.shape
        output_THD = query_HTD.new_zeros(tokens, heads, value_KTD.shape[-1])
        query_HTD, key_KTD, value_KTD = _exact(query_HTD, key_KTD, value_KTD)
        keep = heads * sum(piece.scores for piece in pieces) <= KEPT_ELEMENTS
        kept: list[Tensor] = []
        for piece in pieces:
            query, key = piece.queries_of(query_HTD, len(key_KTD)), piece.keys_of(key_KTD)
            softmax = _softmax(query, key, piece.mask(len(key_KTD), heads // len(key_KTD), query), scoring)
            piece.put_queries(torch.bmm(softmax, piece.keys_of(value_KTD)), output_THD.transpose(0, 1))
            kept += [softmax] if keep else []
        ctx.save_for_backward(*inputs, *kept)
        ctx.pieces, ctx.scoring = pieces, scoring
        return output_THD

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pieces, saved = cast("Sequence[Piece]", ctx.pieces), cast("tuple[Tensor, ...]", ctx.saved_tensors)
        query_HTD, key_KTD, value_KTD, outer_THD = _exact(*saved[:3], gradients[0])
        kept = saved[3:] or [None] * len(pieces)
        kind, outer_HTD, scoring = gradients[0].dtype, outer_THD.transpose(0, 1), cast(Scoring, ctx.scoring)
        query_gradient_HTD = torch.zeros_like(query_HTD)
        key_gradient_KTD, value_gradient_KTD = torch.zeros_like(key_KTD), torch.zeros_like(value_KTD)
        for piece, known in zip(pieces, kept, strict=True):
            query, key = piece.queries_of(query_HTD, len(key_KTD)), piece.keys_of(key_KTD)
            softmax = known
            if softmax is None:
                softmax = _softmax(query, key, piece.mask(len(key_KTD), len(query_HTD) // len(key_KTD), query), scoring)
            outer = piece.queries_of(outer_HTD, len(key_KTD))
            slope = torch.bmm(outer, piece.keys_of(value_KTD).transpose(1, 2))
            slope = torch.ops.aten._softmax_backward_data(slope, softmax, -1, slope.dtype)
            if scoring.softcap:
                slope = (slope * _bend(query, key, scoring)[1]).to(slope.dtype)
            piece.put_queries(torch.bmm(slope, key), query_gradient_HTD)
            piece.add_keys(torch.bmm(slope.transpose(1, 2), query), key_gradient_KTD)
            piece.add_keys(torch.bmm(softmax.transpose(1, 2), outer), value_gradient_KTD)
        made = (query_gradient_HTD.mul_(scoring.scale), key_gradient_KTD.mul_(scoring.scale), value_gradient_KTD)
        return *(gradient.to(kind) for gradient in made), None, None


def _softmax(query: Tensor, key: Tensor, mask: Tensor, scoring: Scoring) -> Tensor:
    """Softmax over the keys of each query of a piece, in the number type of the queries."""
    if scoring.softcap:
        return (_bend(query, key, scoring)[0] + mask).softmax(-1).to(query.dtype)
    return torch.baddbmm(mask, query, key.transpose(1, 2), alpha=scoring.scale).softmax(-1)


def _bend(query: Tensor, key: Tensor, scoring: Scoring) -> tuple[Tensor, Tensor]:
    """Soft-capped scores, and their slope in the scores before."""
    scores = torch.bmm(query, key.transpose(1, 2))
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).mul_(scoring.scale / scoring.softcap)
    bent = scores.tanh_()
    return bent * scoring.softcap, 1 - bent.square()
