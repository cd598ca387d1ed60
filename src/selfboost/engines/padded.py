"""A running batch of any transformers model, through its own forward pass: rows padded on the left.

Shapes: n rows, m new ones, L tokens cached, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from selfboost.engines.key_values import can_join, join_rows, keep_rows, new_cache


class PaddedStep:
    """The rows' cache and mask, and the forward pass that extends them."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.joins = can_join(model)
        self._model = model
        self._cache: Cache | None = None
        self._length_n = torch.zeros(0, dtype=torch.int64, device=model.device)
        self._mask_nL = torch.zeros(0, 0, dtype=torch.int64, device=model.device)

    @torch.no_grad()
    def add(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Append rows with these prompts; the logits of the next token of each, (m, V)."""
        device = self._model.device
        lengths = [len(prompt) for prompt in prompts]
        longest = max(lengths)
        ids_mL = torch.tensor([[0] * (longest - len(prompt)) + [*prompt] for prompt in prompts]).to(device)
        length_m = torch.tensor(lengths, device=device)
        mask_mL = (torch.arange(longest, device=device) >= longest - length_m[:, None]).long()
        cache = new_cache(self._model)
        logits_mV = self._logits(ids_mL, (mask_mL.cumsum(-1) - 1).clamp(min=0), mask_mL, cache)
        self._length_n = torch.cat([self._length_n, length_m])
        if self._cache is None:
            self._cache, self._mask_nL = cache, mask_mL
        else:
            join_rows(self._cache, cache)
            length = max(longest, self._mask_nL.shape[1])
            masks = (torch.nn.functional.pad(mask, (length - mask.shape[1], 0)) for mask in (self._mask_nL, mask_mL))
            self._mask_nL = torch.cat([*masks])
        return logits_mV

    @torch.no_grad()
    def advance(self, token_n: Tensor) -> Tensor:
        """Extend every row by a token; the logits of the next one of each, (n, V)."""
        assert self._cache is not None, "no rows"
        self._mask_nL = torch.nn.functional.pad(self._mask_nL, (0, 1), value=1)
        self._length_n = self._length_n + 1
        return self._logits(token_n[:, None], self._length_n[:, None] - 1, self._mask_nL, self._cache)

    @torch.no_grad()
    def keep(self, order: Sequence[int]) -> None:
        """Let row i be what row order[i] was, forget the others, and drop padding that none needs."""
        order_n = torch.tensor(order, dtype=torch.int64, device=self._mask_nL.device)
        self._length_n = self._length_n[order_n]
        if not order or self._cache is None:
            self._cache = None
            return
        dropped = keep_rows(self._cache, order_n, self._mask_nL.shape[1] - int(self._length_n.max()))
        self._mask_nL = self._mask_nL[order_n, dropped:]

    def _logits(self, ids_nL: Tensor, position_nL: Tensor, mask_nL: Tensor, cache: Cache) -> Tensor:
        """Logits of every row's next token; the model receives only arguments that its forward knows."""
        settings = {"position_ids": position_nL, "logits_to_keep": 1}
        known: dict[str, Any] = {name: value for name, value in settings.items() if name in self._parameters}
        # transformers 5.24 renamed the cache.
        known["cache" if "cache" in self._parameters else "past_key_values"] = cache
        output = cast(Any, self._model)(input_ids=ids_nL, attention_mask=mask_nL, use_cache=True, **known)
        return output.logits[:, -1]

    @cached_property
    def _parameters(self) -> frozenset[str]:
        return frozenset(inspect.signature(self._model.forward).parameters)
