"""Keys and values of a running batch: rows leave and join, and ordinary steps copy nothing.

Rows are padded on the left. Layers other than full attention keep transformers' own cache: their rows can leave, but
none can join.

Shapes: B rows, H heads, L tokens cached, C tokens of room, D size of a head.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

ROOM = 64
"""Minimum room added, in tokens, when a layer is full."""


class GrowingLayer(DynamicLayer):
    """Full attention's keys and values with room at the end, where new tokens are written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.length = 0
        self.keys_BHCD = torch.empty(0, 0, 0, 0)
        self.values_BHCD = torch.empty(0, 0, 0, 0)

    def get_seq_length(self) -> int:
        """Tokens cached."""
        return self.length

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_more: Any) -> tuple[Tensor, Tensor]:
        """Add the new tokens' keys and values and return all of them."""
        start, end = self.length, self.length + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys_BHCD, self.values_BHCD = _with_room(key_states, end), _with_room(value_states, end)
        elif end > self.keys_BHCD.shape[-2]:
            self.keys_BHCD = _with_room(self.keys_BHCD[:, :, :start], end)
            self.values_BHCD = _with_room(self.values_BHCD[:, :, :start], end)
        self.keys_BHCD[:, :, start:end] = key_states
        self.values_BHCD[:, :, start:end] = value_states
        self.length = end
        return self.keys_BHCD[:, :, :end], self.values_BHCD[:, :, :end]

    def rearrange(self, index_B: Tensor, start: int) -> None:
        """Keep these rows, without the first `start` tokens."""
        self.keys_BHCD, self.values_BHCD = (
            _with_room(states_BHCD[index_B, :, start : self.length], self.length - start)
            for states_BHCD in (self.keys_BHCD, self.values_BHCD)
        )
        self.length -= start

    def join(self, other: GrowingLayer) -> None:
        """Append the other's rows; the shorter ones are padded on the left."""
        length = max(self.length, other.length)
        self.keys_BHCD, self.values_BHCD = (
            torch.cat([_padded(mine_BHCD, self.length, length), _padded(theirs_BHCD, other.length, length)])
            for mine_BHCD, theirs_BHCD in (
                (self.keys_BHCD, other.keys_BHCD),
                (self.values_BHCD, other.values_BHCD),
            )
        )
        self.length = length


def can_join(model: PreTrainedModel) -> bool:
    """Whether every layer of the model is one of full attention, so that rows can join a running batch."""
    layers = cast("list[object]", DynamicCache(config=model.config).layers)
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def new_cache(model: PreTrainedModel) -> Cache:
    """An empty cache for the model."""
    cache = DynamicCache(config=model.config)
    if can_join(model):
        cast(Any, cache).layers = [GrowingLayer() for _ in cache.layers]
    return cache


def keep_rows(cache: Cache, index_B: Tensor, start: int) -> int:
    """Keep these rows without their first `start` tokens (padding in all of them); return how many were dropped."""
    layers = cast("list[Any]", cache.layers)
    growing = all(isinstance(layer, GrowingLayer) for layer in layers)
    for layer in layers:
        if growing:
            layer.rearrange(index_B, start)
        else:
            layer.reorder_cache(index_B)
    return start if growing else 0


def join_rows(cache: Cache, other: Cache) -> None:
    """Append another cache's rows; both must have growing layers only."""
    for mine, theirs in zip(cast("list[Any]", cache.layers), cast("list[Any]", other.layers), strict=True):
        assert isinstance(mine, GrowingLayer)
        assert isinstance(theirs, GrowingLayer)
        mine.join(theirs)


def _with_room(states_BHLD: Tensor, needed: int) -> Tensor:
    """A copy with room for one and a half times the tokens needed."""
    batch, heads, length, size = states_BHLD.shape
    room = needed + max(ROOM, needed // 2)
    states_BHCD = torch.zeros(batch, heads, room, size, dtype=states_BHLD.dtype, device=states_BHLD.device)
    states_BHCD[:, :, :length] = states_BHLD
    return states_BHCD


def _padded(states_BHCD: Tensor, held: int, length: int) -> Tensor:
    """The held tokens, left-padded to a length, with room after them."""
    return torch.nn.functional.pad(states_BHCD[:, :, :held], (0, 0, length - held, ROOM))
