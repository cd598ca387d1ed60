"""Standard normal numbers for the answers of a micro-batch, regenerated from their seed on every request.

They depend only on seed, step, answer and position, not on what else is in a batch. They come as (v, B), slices of v
vocabulary entries for a block of B positions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

POLICY, NOISE = 1, 2
"""The two independent draws of a step: the policy's, and the one that the noise learns from."""

Block = Sequence[tuple[slice, str]]
"""Adjacent positions, answer by answer: where they lie among all N, and the name of their noise."""


@dataclass(frozen=True)
class NoiseDraws:
    """The noise of a micro-batch's answers: regenerated on every request, always the same."""

    seed: int
    step: int
    names: Sequence[str]
    lengths: Sequence[int]
    """Tokens of each answer; they sum to N."""

    def blocks(self, positions: int) -> Iterator[Block]:
        """Blocks of at most `size` positions.

        An answer is cut at multiples of the size, so its noise does not depend on its neighbours.
        """
        block: list[tuple[slice, str]] = []
        end = 0
        for name, length in zip(self.names, self.lengths, strict=True):
            for first in range(0, length, positions):
                count = min(positions, length - first)
                if block and end + count - block[0][0].start > positions:
                    yield block
                    block = []
                block.append((slice(end, end + count), f"{name}/{first}"))
                end += count
        if block:
            yield block

    def source(self, block: Block, draw: int, device: torch.device) -> Source:
        """The noise of a block, slice by slice from the first vocabulary entry."""
        generators: list[tuple[int, torch.Generator]] = []
        for here, name in block:
            digest = hashlib.sha256(f"{self.seed}/{self.step}/{name}/{draw}".encode()).digest()
            generator = torch.Generator(device)
            generator.manual_seed(int.from_bytes(digest[:8], "little"))
            generators.append((here.stop - here.start, generator))
        return Source(generators, device)


@dataclass(frozen=True)
class Source:
    """Standard normal numbers of a block, slice by slice of the vocabulary; each answer has a generator of its own."""

    generators: Sequence[tuple[int, torch.Generator]]
    device: torch.device

    def take(self, entries: int, kind: torch.dtype) -> Tensor:
        """The next slice, (v, B)."""
        drawn = [
            torch.randn(entries, count, generator=generator, dtype=kind, device=self.device)
            for count, generator in self.generators
        ]
        return drawn[0] if len(drawn) == 1 else torch.cat(drawn, 1)
