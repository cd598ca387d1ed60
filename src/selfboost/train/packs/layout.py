"""Padding-free packs: items laid end to end, with the prompt that an item's completions share stored once.

A pack is [prompt | completion | completion | prompt | completion | …] in one sequence of T tokens. Positions count from
each prompt's first token, and every completion continues where its prompt ends, so a row reads as it would alone.

Shapes: T tokens of a pack, N completion tokens, R rows of L tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from selfboost.train.packs.rows import Item

ROUND = 64
"""Packs are padded to a multiple of this many tokens: matrix products of a new size start slowly."""


@dataclass(frozen=True)
class Span:
    """A range of a pack's tokens, `end` excluded."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Tree:
    """A prompt and the completions that follow it."""

    prompt: Span
    completions: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.completions))


@dataclass(frozen=True)
class Pack:
    """Items laid out as one sequence."""

    items: tuple[Item, ...]
    device: torch.device
    windows: list[int | None] = field(default_factory=list[int | None])
    """The window of each attention call, in order."""
    prepared: dict[Any, Any] = field(default_factory=dict[Any, Any])
    """What an attention made of the boundaries in its first layer, by all that it depends on."""

    @cached_property
    def trees(self) -> tuple[Tree, ...]:
        """Where each item lies in the pack."""
        found: list[Tree] = []
        end = 0
        for item in self.items:
            start, end = end, end + len(item.prompt_ids)
            prompt, completions = Span(start, end), list[Span]()
            for row in item.rows:
                start, end = end, end + len(row.token_ids)
                completions.append(Span(start, end))
            found.append(Tree(prompt, tuple(completions)))
        return tuple(found)

    @property
    def rows(self) -> Iterator[tuple[Span, Span]]:
        """Prompt and completion of every row."""
        return ((tree.prompt, completion) for tree in self.trees for completion in tree.completions)

    @cached_property
    def tokens(self) -> int:
        """Tokens of the items, without padding."""
        return sum(item.shared_tokens for item in self.items)

    @cached_property
    def ids_T(self) -> Tensor:
        """Token ids."""
        found: list[int] = []
        for item in self.items:
            found += item.prompt_ids
            for row in item.rows:
                found += row.token_ids
        return self._filled(found)

    @cached_property
    def positions_T(self) -> Tensor:
        """Place of each token in its row, from 0."""
        found: list[int] = []
        for tree in self.trees:
            length = len(tree.prompt)
            found += range(length)
            for completion in tree.completions:
                found += range(length, length + len(completion))
        return self._filled(found)

    @cached_property
    def sources_N(self) -> Tensor:
        """The position that predicts each completion token: the one before it in its row."""
        found: list[int] = []
        for prompt, completion in self.rows:
            if len(completion):
                found += [prompt.end - 1, *range(completion.start, completion.end - 1)]
        return self._tensor(found)

    @cached_property
    def targets_N(self) -> Tensor:
        """The completion tokens themselves."""
        return self._tensor([token for item in self.items for row in item.rows for token in row.token_ids])

    @cached_property
    def last_R(self) -> Tensor:
        """The last position of each row."""
        return self._tensor([(completion if len(completion) else prompt).end - 1 for prompt, completion in self.rows])

    @property
    def lengths(self) -> list[int]:
        """Completion tokens of each row."""
        return [len(completion) for _, completion in self.rows]

    @cached_property
    def places_RL(self) -> Tensor:
        """Each row's tokens, prompt and completion, as places in the pack; right-padded with place 0."""
        rows = [[*range(prompt.start, prompt.end), *range(own.start, own.end)] for prompt, own in self.rows]
        length = max(len(row) for row in rows)
        found = [place for row in rows for place in (*row, *[0] * (length - len(row)))]
        return self._tensor(found).view(len(rows), length)

    @cached_property
    def readings_T(self) -> Tensor:
        """Where each token of the pack stands in the padded rows, flattened; a prompt in its first row."""
        length = self.places_RL.shape[1]
        found: list[int] = []
        row = 0
        for tree in self.trees:
            before = len(tree.prompt)
            found += range(row * length, row * length + before)
            for completion in tree.completions:
                found += range(row * length + before, row * length + before + len(completion))
                row += 1
        return self._filled(found)

    @cached_property
    def tree_T(self) -> Tensor:
        """Which item each token belongs to."""
        return self._filled([at for at, item in enumerate(self.items) for _ in range(item.shared_tokens)])

    @cached_property
    def branch_T(self) -> Tensor:
        """0 in a prompt, else the number of the completion in its item, from 1."""
        sizes = [(len(tree.prompt), *map(len, tree.completions)) for tree in self.trees]
        return self._filled([branch for lengths in sizes for branch, n in enumerate(lengths) for _ in range(n)])

    def _filled(self, values: list[int]) -> Tensor:
        """One value per token, 0 for padding."""
        return self._tensor(values + [0] * (-len(values) % ROUND))

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.device)
