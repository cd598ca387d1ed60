"""Our own forward pass of Llama-like models for sampling on a CPU: few operations, and no copies of what is cached.

Keys and values are written in place, prompts that occur several times are computed once, and rows of equal length need
no mask. Used only where a comparison when the model is opened shows that transformers' forward computes the same.

Shapes: n rows of the batch, m new ones, u different prompts; T tokens computed at once, L tokens of the longest row;
E hidden size, H query heads, K key heads, G = H/K, D size of a head, C positions, V vocabulary; P places for rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from selfboost.engines.alike import alike
from selfboost.engines.llama_weights import LlamaLayer, LlamaWeights, pack, why_unknown
from selfboost.engines.slots import KeyValueSlots

PROBE_PROMPTS, PROBE_STEPS = (5, 23, 11, 11), 3
"""Lengths of the prompts that a model is tried with when it is opened, and how many tokens follow each."""
ROUNDING = 5.0
"""A whole model's rounding, in that of one module."""

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Layer, queries (T, H, D), keys and values (T, K, D) → outputs (T, H·D)."""


class LlamaStep:
    """A running batch of a Llama-like model: its rows' keys and values, and the forward pass that extends them.

    `longest`: most tokens that a row will have.
    """

    joins = True
    """Whether rows can join others."""

    def __init__(self, weights: LlamaWeights, longest: int) -> None:
        self._weights = weights
        dtype = weights.embeddings.dtype
        self._slots = KeyValueSlots(len(weights.layers), weights.key_heads, weights.size, dtype, longest)
        self._cos_CD = self._sin_CD = torch.empty(0)

    @torch.inference_mode()
    def add(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Append rows with these prompts; the logits of the next token of each, (m, V)."""
        different = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
        number = {prompt: at for at, prompt in enumerate(different)}
        source_m = torch.tensor([number[tuple(prompt)] for prompt in prompts])
        longest = max(len(prompt) for prompt in different)
        places = self._slots.take([len(prompt) for prompt in prompts])
        folded = (len(different), longest, -1, self._weights.size)

        def attend(layer: int, query_THD: Tensor, key_TKD: Tensor, value_TKD: Tensor) -> Tensor:
            query, key, value = (x.reshape(folded).transpose(1, 2) for x in (query_THD, key_TKD, value_TKD))
            for cached, new in zip(self._slots.layer(layer), (key, value), strict=True):
                cached[places, :, :longest] = new if len(different) == len(prompts) else new[source_m]
            # Padding is on the right and attention causal, so no token of a prompt ever sees it.
            output = functional.scaled_dot_product_attention(
                query, key, value, is_causal=True, scale=self._weights.scale, enable_gqa=query.shape != key.shape
            )
            return output.transpose(1, 2).flatten(2).flatten(0, 1)

        # Padded with a token of its own, a row holds no number that another row made.
        ids_T = torch.tensor([[*prompt, *prompt[-1:] * (longest - len(prompt))] for prompt in different]).flatten()
        hidden_TE = self._body(ids_T, torch.arange(longest).repeat(len(different)), attend)
        last_u = torch.tensor([at * longest + len(prompt) - 1 for at, prompt in enumerate(different)])
        return self._logits(hidden_TE[last_u])[source_m]

    @torch.inference_mode()
    def advance(self, token_n: Tensor) -> Tensor:
        """Extend every row by a token; the logits of the next one of each, (n, V)."""
        place_n = self._slots.reserve()
        rows, length = len(place_n), int(place_n.max()) + 1
        aligned = bool((place_n == length - 1).all())
        mask_n1L = None if aligned else self._mask(place_n, length)
        row_n1, head_K, place_n1 = torch.arange(rows)[:, None], torch.arange(self._weights.key_heads), place_n[:, None]
        folded = (rows, self._weights.key_heads, -1, self._weights.size)

        def attend(layer: int, query_nHD: Tensor, key_nKD: Tensor, value_nKD: Tensor) -> Tensor:
            cached = self._slots.layer(layer)
            for states_PKCD, new_nKD in zip(cached, (key_nKD, value_nKD), strict=True):
                if aligned:
                    states_PKCD[:rows, :, length - 1] = new_nKD
                else:
                    states_PKCD.index_put_((row_n1, head_K, place_n1), new_nKD)
            key_nKLD, value_nKLD = (states_PKCD[:rows, :, :length] for states_PKCD in cached)
            query_nKGD = query_nHD.reshape(folded)
            return attend_one(query_nKGD, key_nKLD, value_nKLD, mask_n1L, self._weights.scale).reshape(rows, -1)

        return self._logits(self._body(token_n, place_n, attend))

    @torch.inference_mode()
    def keep(self, order: Sequence[int]) -> None:
        """Let row i be what row order[i] was, and forget the others."""
        self._slots.keep(order)

    def _body(self, ids_T: Tensor, position_T: Tensor, attend: Attend) -> Tensor:
        """Last hidden states, before the last norm."""
        hidden_TE = self._weights.embeddings[ids_T]
        angle = tuple(table_CD[position_T][:, None] for table_CD in self._angles())
        for number, layer in enumerate(self._weights.layers):
            states = self._states(layer, hidden_TE, cast("tuple[Tensor, Tensor]", angle))
            layer.output.add_to(hidden_TE, attend(number, *states))
            gate_TI, up_TI = layer.gates(layer.before_gates(hidden_TE)).chunk(2, -1)
            layer.down.add_to(hidden_TE, silu(gate_TI).mul_(up_TI))
        return hidden_TE

    def _states(self, layer: LlamaLayer, hidden_TE: Tensor, angle: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """Queries, keys and values of a layer, (T, H or K, D)."""
        heads, key_heads = self._weights.heads, self._weights.key_heads
        states = layer.states(layer.before_attention(hidden_TE)).view(len(hidden_TE), -1, self._weights.size)
        query, key, value = states[:, :heads], states[:, heads : heads + key_heads], states[:, heads + key_heads :]
        if layer.of_query is not None and layer.of_key is not None:
            return rotated(layer.of_query(query), angle), rotated(layer.of_key(key), angle), value
        turned = rotated(states[:, : heads + key_heads], angle)
        return turned[:, :heads], turned[:, heads:], value

    def _logits(self, hidden_nE: Tensor) -> Tensor:
        return self._weights.head(self._weights.norm(hidden_nE))

    def _angles(self) -> tuple[Tensor, Tensor]:
        """Cosines and sines by position, (C, D) each."""
        if len(self._cos_CD) < self._slots.room:
            places_1C = torch.arange(self._slots.room)[None]
            cos_1CD, sin_1CD = self._weights.rotary(self._weights.embeddings[:1], places_1C)
            self._cos_CD, self._sin_CD = cos_1CD[0], sin_1CD[0]
        return self._cos_CD, self._sin_CD

    def _mask(self, place_n: Tensor, length: int) -> Tensor:
        """What is added to scores: −∞ beyond a row's end, (n, 1, L)."""
        beyond_n1L = torch.arange(length) > place_n[:, None, None]
        zeros_n1L = self._weights.embeddings.new_zeros(beyond_n1L.shape)
        return zeros_n1L.masked_fill_(beyond_n1L, -torch.inf)


def attend_one(query: Tensor, key: Tensor, value: Tensor, mask_n1L: Tensor | None, scale: float) -> Tensor:
    """Attention of one token of every row to all before: queries (n, K, G, D), keys and values (n, K, L, D)."""
    if not batched_products_win(query):
        mask_n11L = None if mask_n1L is None else mask_n1L[:, None]
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask_n11L, scale=scale)
    shape = len(query), -1, key.shape[2]
    score = torch.bmm(query.flatten(0, 1) * scale, key.flatten(0, 1).transpose(1, 2))
    if mask_n1L is not None:
        score.view(shape).add_(mask_n1L)
    return torch.bmm(score.softmax(-1), value.flatten(0, 1))


def batched_products_win(query: Tensor) -> bool:
    """Whether two batched products are faster than PyTorch's attention: not with AMX, nor with shared keys.

    In bfloat16 they round scores as transformers' eager attention does.
    """
    if query.dtype == torch.bfloat16:
        able = torch.cpu.get_capabilities()
        return query.shape[2] == 1 and bool(able.get("avx512_bf16")) and not able.get("amx_bf16")
    return query.dtype == torch.float32


def rotated(x_THD: Tensor, angle: tuple[Tensor, Tensor]) -> Tensor:
    """Heads turned by the angles of their places, Su et al. 2021 (arXiv 2104.09864): halves of a head are one pair."""
    cos_T1D, sin_T1D = angle
    half = cos_T1D.shape[-1] // 2
    turned_THD = x_THD * cos_T1D
    turned_THD[..., :half].addcmul_(x_THD[..., half:], sin_T1D[..., :half], value=-1)
    turned_THD[..., half:].addcmul_(x_THD[..., :half], sin_T1D[..., half:])
    return turned_THD


def silu(x: Tensor) -> Tensor:
    """x·σ(x), by way of float32: PyTorch's own takes five times as long on bfloat16."""
    return functional.silu(x.float(), inplace=x.dtype != torch.float32).to(x.dtype)


def open_llama(model: PreTrainedModel) -> LlamaWeights | str:
    """The packed weights of a Llama-like model, or why transformers' forward must be used."""
    why = why_unknown(model)
    if why:
        return why
    weights = pack(model)
    return weights if _computes_the_same(weights, model) else "our own forward pass computes something else"


@torch.no_grad()
def _computes_the_same(weights: LlamaWeights, model: PreTrainedModel) -> bool:
    """Whether ragged rows that are extended step by step have the logits of whole rows in transformers' forward."""
    size = len(weights.embeddings)
    rows = [[(7 * at + 3 * length) % size for at in range(length + PROBE_STEPS)] for length in PROBE_PROMPTS]
    whole = [cast(Any, model)(input_ids=torch.tensor([row]), use_cache=False).logits[0] for row in rows]
    step = LlamaStep(weights, max(len(row) for row in rows))
    found = [step.add([row[:length] for row, length in zip(rows, PROBE_PROMPTS, strict=True)])]
    for at in range(PROBE_STEPS):
        tokens = [row[length + at] for row, length in zip(rows, PROBE_PROMPTS, strict=True)]
        found.append(step.advance(torch.tensor(tokens)))
    expected = torch.stack([logits[-PROBE_STEPS - 1 :] for logits in whole], 1)
    return alike(torch.stack(found), expected, ROUNDING)
