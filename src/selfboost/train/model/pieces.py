"""What attention computes at a time: a block of a row's queries, or many small trees together.

A piece takes its queries and keys out of a pack's, folds query heads onto the key head that they share, and puts back
what is made of them. Long rows go by blocks; trees of a few tokens side by side, padded, each with all its tokens as
queries and as keys: one product for all of them, where a product for each would take longer to start than to compute.

Shapes: H query heads, K key heads, G = H/K, T tokens of a pack, D head size; n queries and m keys of a piece, b trees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from selfboost.train.packs.layout import Pack, Span, Tree

QUERIES = 128
"""Queries per block."""
SMALL = 96
"""Most tokens of a small tree: up to here what it computes in vain, one completion against another, costs less."""
TOGETHER = 2**18
"""Most scores of small trees taken together, over all heads: few enough to stay in a CPU's cache."""


class Piece(Protocol):
    """A part of a pack's queries, with all keys that any of them sees."""

    @property
    def scores(self) -> int:
        """Scores of one head."""
        ...

    def queries_of(self, x_HTD: Tensor, key_heads: int) -> Tensor:
        """What belongs to its queries: (K·b, G·n, D)."""
        ...

    def keys_of(self, x_KTD: Tensor) -> Tensor:
        """What belongs to its keys: (K·b, m, D)."""
        ...

    def mask(self, key_heads: int, group: int, like: Tensor) -> Tensor:
        """−∞ where a query does not see a key, else 0; broadcasts to (K·b, G·n, m)."""
        ...

    def put_queries(self, x: Tensor, into_HTD: Tensor) -> None:
        """Write (K·b, G·n, D) where its queries are."""
        ...

    def add_keys(self, x: Tensor, into_KTD: Tensor) -> None:
        """Add (K·b, m, D) where its keys are."""
        ...


def pieces_of(pack: Pack, window: int | None, heads: int) -> Sequence[Piece]:
    """The pieces of a pack: every query is in exactly one. `window`: how many tokens a query sees, itself included."""
    key = (pieces_of, window, heads)
    if key not in pack.prepared:
        pack.prepared[key] = list(_pieces(pack, window, heads))
    return pack.prepared[key]


def _pieces(pack: Pack, window: int | None, heads: int) -> Iterator[Piece]:
    for trees in _together(pack.trees, heads):
        if len(trees[0]) <= SMALL:
            yield SmallTrees(pack, trees, window)
        else:
            yield from _blocks(trees[0], window)


def _together(trees: Sequence[Tree], heads: int) -> Iterator[Sequence[Tree]]:
    """Adjacent small trees of about the same length, as many as there is room for; longer ones alone."""
    group: list[Tree] = []
    shortest = longest = 0
    for tree in trees:
        length = len(tree)
        least, most = min(shortest or length, length), max(longest, length)
        if group and (most > SMALL or 4 * least < 3 * most or heads * (len(group) + 1) * most**2 > TOGETHER):
            yield group
            group, least, most = [], length, length
        group.append(tree)
        shortest, longest = least, most
    if group:
        yield group


def _blocks(tree: Tree, window: int | None) -> Iterator[Block]:
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
        yield Block(queries, tuple(span for span in seen if len(span)), place - unseen, window)


@dataclass(frozen=True)
class Block:
    """Adjacent queries of a row, and all keys that any of them may see, in row order (b = 1)."""

    queries: Span
    keys: tuple[Span, ...]
    first: int
    """Place of the first query among the keys."""
    window: int | None

    @property
    def scores(self) -> int:
        """Scores of one head."""
        return len(self.queries) * sum(len(span) for span in self.keys)

    def queries_of(self, x_HTD: Tensor, key_heads: int) -> Tensor:
        """What belongs to its queries: (K, G·n, D)."""
        x_HnD = x_HTD[:, self.queries.start : self.queries.end]
        return x_HnD if len(x_HnD) == key_heads else x_HnD.reshape(key_heads, -1, x_HnD.shape[-1])

    def keys_of(self, x_KTD: Tensor) -> Tensor:
        """What belongs to its keys: (K, m, D)."""
        parts = [x_KTD[:, span.start : span.end] for span in self.keys]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def mask(self, key_heads: int, group: int, like: Tensor) -> Tensor:  # noqa: ARG002 - the same for every key head
        """−∞ where a query does not see a key, else 0: (G·n, m)."""
        n = len(self.queries)
        return _mask(n, self.scores // n, group, self.first, self.window, like.dtype, like.device)

    def put_queries(self, x: Tensor, into_HTD: Tensor) -> None:
        """Write (K, G·n, D) where its queries are."""
        n = len(self.queries)
        into_HTD[:, self.queries.start : self.queries.end] = x.view(len(into_HTD), n, -1)

    def add_keys(self, x: Tensor, into_KTD: Tensor) -> None:
        """Add (K, m, D) where its keys are."""
        start = 0
        for span in self.keys:
            into_KTD[:, span.start : span.end] += x[:, start : start + len(span)]
            start += len(span)


class SmallTrees:
    """Adjacent trees, padded to the longest; every token of a tree is a query and a key of it (m = n)."""

    def __init__(self, pack: Pack, trees: Sequence[Tree], window: int | None) -> None:
        self.start = trees[0].prompt.start
        longest, lengths = max(map(len, trees)), list(map(len, trees))
        self.shape = len(trees), longest
        self.end = self.start + sum(lengths)
        place_bn = torch.arange(longest, device=pack.device).expand(self.shape)
        filled_bn = place_bn < torch.tensor(lengths, device=pack.device)[:, None]
        first_b = torch.tensor([tree.prompt.start for tree in trees], device=pack.device)
        self.places = torch.where(filled_bn, place_bn + first_b[:, None], first_b[:, None]).flatten()
        """Where in the pack each token of the padded trees is; padding, where its tree begins."""
        self.tokens, self.padding = (flags.flatten().nonzero()[:, 0] for flags in (filled_bn, ~filled_bn))
        """Which places of the padded trees are tokens, and which are padding."""
        branch_bn = torch.where(filled_bn, pack.branch_T[self.places].view(self.shape), -1)
        sees_bnn = (branch_bn[:, None] == 0) | (branch_bn[:, None] == branch_bn[:, :, None])
        sees_bnn &= place_bn[:, None] <= place_bn[:, :, None]  # padding sees itself: no row of scores is empty
        if window is not None:
            position_bn = pack.positions_T[self.places].view(self.shape)
            sees_bnn &= position_bn[:, :, None] - position_bn[:, None] < window
        self.hidden_bnn = ~sees_bnn
        self._masks: dict[tuple[int, int, torch.dtype], Tensor] = {}

    @property
    def scores(self) -> int:
        """Scores of one head."""
        return self.hidden_bnn.numel()

    def queries_of(self, x_HTD: Tensor, key_heads: int) -> Tensor:
        """What belongs to its queries, 0 for padding, so that its gradient is 0 too: (K·b, G·n, D)."""
        x_HPD = x_HTD.index_select(1, self.places)
        if len(self.padding):
            x_HPD.index_fill_(1, self.padding, 0)
        b, n = self.shape
        if len(x_HPD) != key_heads:
            x_HPD = x_HPD.view(key_heads, -1, b, n, x_HPD.shape[-1]).transpose(1, 2)
        return x_HPD.reshape(key_heads * b, -1, x_HPD.shape[-1])

    def keys_of(self, x_KTD: Tensor) -> Tensor:
        """What belongs to its keys: (K·b, n, D)."""
        b, n = self.shape
        return x_KTD.index_select(1, self.places).view(len(x_KTD) * b, n, -1)

    def mask(self, key_heads: int, group: int, like: Tensor) -> Tensor:
        """−∞ where a query does not see a key, else 0: (K·b, G·n, n)."""
        key = (key_heads, group, like.dtype)
        if key not in self._masks:
            mask_bnn = torch.zeros_like(self.hidden_bnn, dtype=like.dtype).masked_fill_(self.hidden_bnn, float("-inf"))
            self._masks[key] = mask_bnn.repeat(key_heads, group, 1)
        return self._masks[key]

    def put_queries(self, x: Tensor, into_HTD: Tensor) -> None:
        """Write (K·b, G·n, D) where its queries are."""
        b, n = self.shape
        heads, size = len(into_HTD), x.shape[-1]
        key_heads = len(x) // b
        if heads != key_heads:
            x = x.view(key_heads, b, -1, n, size).transpose(1, 2)
        into_HTD[:, self.start : self.end] = x.reshape(heads, b * n, size).index_select(1, self.tokens)

    def add_keys(self, x: Tensor, into_KTD: Tensor) -> None:
        """Write (K·b, n, D) where its keys are: they are no other piece's."""
        found_KPD = x.view(len(into_KTD), -1, x.shape[-1])
        into_KTD[:, self.start : self.end] = found_KPD.index_select(1, self.tokens)


@lru_cache(maxsize=256)
def _mask(
    n: int, m: int, groups: int, first: int, window: int | None, dtype: torch.dtype, device: torch.device
) -> Tensor:
    behind_nm = torch.arange(first, first + n, device=device)[:, None] - torch.arange(m, device=device)
    sees_nm = (behind_nm >= 0) if window is None else (behind_nm >= 0) & (behind_nm < window)
    return torch.zeros(n, m, dtype=dtype, device=device).masked_fill_(~sees_nm, float("-inf")).repeat(groups, 1)
