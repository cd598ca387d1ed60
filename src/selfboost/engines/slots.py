"""Keys and values of a running batch in places of their own: rows leave and join without a copy of the others.

The rows of a batch are the first n places, each from its first token on, so that rows of different lengths are padded
on the right. Beyond a row's tokens there are zeros or numbers of the row's own making: an infinite number that another
row left there would spoil even a masked sum.

Shapes: N layers, P places, n rows of the batch, H key heads, C tokens of room, L tokens, D size of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ROOM = 64
"""Minimum room added, in tokens, when a row outgrows it."""


class KeyValueSlots:
    """Room for keys and values of every layer; `longest`: most tokens that a row will have."""

    def __init__(self, layers: int, heads: int, size: int, dtype: torch.dtype, longest: int) -> None:
        self.rows = 0
        self._longest = longest
        self._written = 0
        self.length_n = torch.zeros(0, dtype=torch.int64)
        """Tokens cached, by row."""
        self._both_2NPHCD = torch.zeros(2, layers, 0, heads, 0, size, dtype=dtype)

    @property
    def room(self) -> int:
        """Tokens that a place has room for."""
        return self._both_2NPHCD.shape[4]

    def take(self, lengths: Sequence[int]) -> slice:
        """Places for new rows, emptied; they follow the others."""
        places = slice(self.rows, self.rows + len(lengths))
        self._grow(places.stop, max(lengths))
        self._both_2NPHCD[:, :, places, :, : self._written] = 0
        self._written = max(self._written, *lengths)
        self.length_n = torch.cat([self.length_n, torch.tensor(lengths)])
        self.rows = places.stop
        return places

    def layer(self, number: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer, (P, H, C, D) each, to be read and written."""
        return self._both_2NPHCD[0, number], self._both_2NPHCD[1, number]

    def reserve(self) -> Tensor:
        """Make room for one more token of every row, and count it; returns its place in each row."""
        place_n = self.length_n
        self._grow(self.rows, int(place_n.max()) + 1)
        self.length_n = place_n + 1
        self._written = max(self._written, int(self.length_n.max()))
        return place_n

    def keep(self, order: Sequence[int]) -> None:
        """Let row i be what row order[i] was; only rows that change their place are copied."""
        moved = [place for place, source in enumerate(order) if place != source]
        if moved:
            sources = [order[place] for place in moved]
            written = self._both_2NPHCD[:, :, :, :, : self._written]
            written[:, :, moved] = written[:, :, sources]
        self.length_n = self.length_n[list(order)]
        self.rows = len(order)

    def _grow(self, places: int, tokens: int) -> None:
        """Have at least so many places and so much room."""
        two, layers, held, heads, room, size = self._both_2NPHCD.shape
        if places <= held and tokens <= room:
            return
        wanted = min(tokens + max(ROOM, tokens // 2), self._longest)
        room_after = room if tokens <= room else max(tokens, wanted)
        grown = self._both_2NPHCD.new_zeros(two, layers, max(places, held), heads, room_after, size)
        grown[:, :, : self.rows, :, : self._written] = self._both_2NPHCD[:, :, : self.rows, :, : self._written]
        self._both_2NPHCD = grown
