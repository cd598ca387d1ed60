"""Attention over a pack: a completion sees its prompt and itself, and nothing else in the pack.

Three implementations of the same numbers. `blocks`: plain matrix products over blocks of queries, without padding;
written for the CPU, where PyTorch's own attention on padded rows takes three times as long. `rows`: PyTorch's fused
attention on padded rows, a shared prompt's keys taken into each. `flex`: PyTorch's FlexAttention, compiled on a GPU.

Shapes: H query heads, K key heads, T tokens of a pack, D head size; R rows of L tokens; n queries, m keys of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from selfboost.train.local_settings import AttentionName
from selfboost.train.model.blocks import Scoring, attend_by_blocks
from selfboost.train.packs.layout import Pack

PREFIX = "selfboost_"
"""Prefix of the names that transformers knows these implementations by."""

Attend = Callable[[Tensor, Tensor, Tensor, Pack, Scoring], Tensor]
"""Queries (H, T, D), keys and values (K, T, D) → outputs (T, H, D)."""


def attend_by_rows(query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, pack: Pack, scoring: Scoring) -> Tensor:
    """PyTorch's fused attention on right-padded rows; padding comes last, so causality alone hides it.

    Raises:
        ValueError: the scores are soft-capped, which this function cannot do.
    """
    if scoring.softcap:
        raise ValueError("attention = 'rows' cannot soft-cap scores, which this model does: choose 'blocks' or 'flex'")
    places_RL = pack.places_RL

    def rows(x_HTD: Tensor) -> Tensor:
        return x_HTD.transpose(0, 1)[places_RL].transpose(1, 2)

    length = places_RL.shape[1]
    mask_LL = None
    if scoring.window is not None and scoring.window < length:
        place_L = torch.arange(length, device=places_RL.device)
        behind_LL = place_L[:, None] - place_L[None]
        mask_LL = (behind_LL >= 0) & (behind_LL < scoring.window)
    output_RHLD = torch.nn.functional.scaled_dot_product_attention(
        rows(query_HTD),
        rows(key_KTD),
        rows(value_KTD),
        attn_mask=mask_LL,
        is_causal=mask_LL is None,
        scale=scoring.scale,
        enable_gqa=len(query_HTD) != len(key_KTD),
    )
    return output_RHLD.transpose(1, 2).flatten(0, 1)[pack.readings_T]


def attend_by_flex(query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, pack: Pack, scoring: Scoring) -> Tensor:
    """FlexAttention with the pack's boundaries as its mask."""
    from torch.nn.attention import flex_attention as flex

    def softcap(score: Tensor, *_place: Tensor) -> Tensor:
        return scoring.softcap * torch.tanh(score / scoring.softcap)

    if scoring.window not in pack.prepared:
        pack.prepared[scoring.window] = _flex_mask(pack, scoring.window)
    attend: Any = torch.compile(flex.flex_attention) if query_HTD.is_cuda else flex.flex_attention
    output_1HTD = attend(
        query_HTD[None],
        key_KTD[None],
        value_KTD[None],
        score_mod=softcap if scoring.softcap else None,
        block_mask=pack.prepared[scoring.window],
        scale=scoring.scale,
        enable_gqa=len(query_HTD) != len(key_KTD),
    )
    return cast(Tensor, output_1HTD)[0].transpose(0, 1)


def _flex_mask(pack: Pack, window: int | None) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    tree_T, branch_T, position_T = pack.tree_T, pack.branch_T, pack.positions_T
    tokens = len(position_T)

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        beside = (tree_T[query] == tree_T[key]) & ((branch_T[key] == 0) | (branch_T[key] == branch_T[query]))
        return beside & (query >= key) & (position_T[query] - position_T[key] < (window or tokens))

    return create_block_mask(sees, None, None, tokens, tokens, device=pack.device)


def _attend(query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, pack: Pack, scoring: Scoring) -> Tensor:
    on_gpu = query_HTD.device.type == "cuda"
    by = attend_by_rows if on_gpu and not scoring.softcap else attend_by_blocks
    return by(query_HTD, key_KTD, value_KTD, pack, scoring)


IMPLEMENTATIONS: dict[AttentionName, Attend] = {
    "auto": _attend,
    "blocks": attend_by_blocks,
    "rows": attend_by_rows,
    "flex": attend_by_flex,
}


def windows_of(config: Any) -> list[int | None]:
    """Window of each attention layer, from the model's configuration; None: back to the row's first token."""
    width: int | None = getattr(config, "sliding_window", None) or None
    layers = int(getattr(config, "num_hidden_layers", 0))
    kinds: Sequence[str] = getattr(config, "layer_types", None) or ["sliding_attention"] * layers
    attending = [kind for kind in kinds if kind.endswith("attention") and kind != "linear_attention"]
    slides = getattr(config, "use_sliding_window", True)
    return [width if slides and kind == "sliding_attention" else None for kind in attending]


def register(name: AttentionName) -> str:
    """Register an implementation with transformers; returns its name there."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    attend = IMPLEMENTATIONS[name]

    def attention(
        module: torch.nn.Module,
        query_1HTD: Tensor,
        key_1KTD: Tensor,
        value_1KTD: Tensor,
        _mask: Tensor | None,
        *,
        scaling: float | None = None,
        sliding_window: int | None = None,
        softcap: float | None = None,
        **others: Any,
    ) -> tuple[Tensor, None]:
        pack = cast("Pack | None", others.get("pack"))
        unknown = [key for key in ("s_aux", "position_bias") if others.get(key) is not None]
        if pack is None or unknown or not getattr(module, "is_causal", True):
            why = "does not hand packs to its attention" if pack is None else f"has {unknown or 'no causality'}"
            raise ValueError(f"the attention {type(module).__name__} {why}, so packs would be computed wrongly")
        pack.windows.append(sliding_window)
        scale = query_1HTD.shape[-1] ** -0.5 if scaling is None else scaling
        scoring = Scoring(scale, sliding_window, softcap or 0.0)
        return attend(query_1HTD[0], key_1KTD[0], value_1KTD[0], pack, scoring)[None], None

    cast(Any, ALL_ATTENTION_FUNCTIONS).register(PREFIX + name, attention)
    return PREFIX + name
