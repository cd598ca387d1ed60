"""Rotary position embedding with half the passes over memory and its own backward pass.

Attention modules that rotate halves of a head (as in GPT-NeoX and Llama) get a forward pass that calls this one, if a
comparison when the model is opened shows that theirs computes the same. transformers itself is not changed.

Shapes: H heads, T tokens, D head size.
"""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Any, cast

import torch
from torch import Tensor

from selfboost.train.model.forwards import replace_forward

NAME = "apply_rotary_pos_emb"
"""transformers' name of the function in its architectures' modules."""


class _Rotate(torch.autograd.Function):
    """(x₁, x₂) → (x₁·cos − x₂·sin, x₂·cos + x₁·sin) on the halves of a head, Su et al. 2021 (arXiv 2104.09864)."""

    @staticmethod
    def forward(ctx: Any, x_1HTD: Tensor, cos_11TD: Tensor, sin_11TD: Tensor) -> Tensor:
        ctx.save_for_backward(cos_11TD, sin_11TD)
        half = cos_11TD.shape[-1] // 2
        found, turned, x = _turned(x_1HTD, cos_11TD)
        turned[..., :half].addcmul_(x[..., half:], sin_11TD[..., :half], value=-1)
        turned[..., half:].addcmul_(x[..., :half], sin_11TD[..., half:])
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cos_11TD, sin_11TD = cast("tuple[Tensor, Tensor]", ctx.saved_tensors)
        half = cos_11TD.shape[-1] // 2
        found, turned, outer = _turned(gradients[0], cos_11TD)
        turned[..., :half].addcmul_(outer[..., half:], sin_11TD[..., half:])
        turned[..., half:].addcmul_(outer[..., :half], sin_11TD[..., :half], value=-1)
        return found, None, None


def _turned(x_1HTD: Tensor, cos_11TD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x with its rotated features times cos, those features of it, and those of x; others stay (partial rotation)."""
    size = cos_11TD.shape[-1]
    if size == x_1HTD.shape[-1]:
        found = x_1HTD * cos_11TD
        return found, found, x_1HTD
    found = x_1HTD.clone()
    return found, found[..., :size].mul_(cos_11TD), x_1HTD[..., :size]


def rotate(
    query: Tensor, key: Tensor, cos_1TD: Tensor, sin_1TD: Tensor, unsqueeze_dim: int = 1
) -> tuple[Tensor, Tensor]:
    """Queries (1, H, T, D) and keys, rotated by the angle of each token's place."""
    cos, sin = cos_1TD.unsqueeze(unsqueeze_dim), sin_1TD.unsqueeze(unsqueeze_dim)
    apply = cast(Any, _Rotate).apply
    return apply(query, cos, sin), apply(key, cos, sin)


def replace_rotations(model: torch.nn.Module) -> None:
    """Make a model's attention modules use `rotate`, where that is what they do."""
    known: dict[FunctionType, FunctionType | None] = {}
    for module in model.modules():
        forward = inspect.unwrap(type(module).forward)
        if not isinstance(forward, FunctionType) or NAME not in forward.__code__.co_names:
            continue
        if forward not in known:
            known[forward] = _rotating(forward) if _is_rotation(forward.__globals__.get(NAME)) else None
        own = known[forward]
        if own is not None:
            replace_forward(module, own)


def _rotating(forward: FunctionType) -> FunctionType:
    """The same function with another rotation in its globals."""
    names = forward.__globals__ | {NAME: rotate}
    made = FunctionType(forward.__code__, names, forward.__name__, forward.__defaults__, forward.__closure__)
    made.__kwdefaults__ = forward.__kwdefaults__
    return made


@torch.no_grad()
def _is_rotation(theirs: Any) -> bool:
    """Whether a function gives what `rotate` gives, on whole heads and, if it takes them, on parts of heads."""
    query, key = torch.linspace(-1, 1, 48).view(1, 2, 3, 8), torch.linspace(1, 2, 24).view(1, 1, 3, 8)
    same = False
    for size in (8, 4):
        angle_1TD = torch.linspace(0, 3, 3 * size // 2).view(1, 3, -1).repeat(1, 1, 2)
        try:
            found = theirs(query, key, angle_1TD.cos(), angle_1TD.sin())
        except (TypeError, RuntimeError):
            continue
        expected = rotate(query, key, angle_1TD.cos(), angle_1TD.sin())
        same = all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
        if not same:
            return False
    return same
