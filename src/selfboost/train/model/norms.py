"""RMS norms with their own backward pass: fewer passes over memory, and only the input is kept.

They replace a model's own where both compute the same, which is checked by one comparison when a model is opened;
parameters stay in place. Sums are in float32 at least, in float64 for float64.

Shapes: … any leading sizes, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from selfboost.engines.alike import alike
from selfboost.train.model.forwards import replace_forward
from selfboost.train.model.numbers import with_numbers


class _RMSNorm(torch.autograd.Function):
    """x / √(mean(x²) + ε) · (w + offset), Zhang & Sennrich 2019 (arXiv 1910.07467), equation 4."""

    @staticmethod
    def forward(ctx: Any, x_D: Tensor, weight_D: Tensor, epsilon: float, offset: float) -> Tensor:
        exact = torch.promote_types(x_D.dtype, torch.float32)
        norm_1: Tensor = cast(Any, torch.linalg.vector_norm)(x_D, dim=-1, keepdim=True, dtype=exact)
        scale_1 = norm_1.square_().div_(x_D.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x_D, weight_D, scale_1)
        ctx.offset = offset
        return (x_D * scale_1).mul_(weight_D.to(exact) + offset).to(x_D.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x_D, weight_D, scale_1 = cast("tuple[Tensor, Tensor, Tensor]", ctx.saved_tensors)
        outer_D, exact = gradients[0], scale_1.dtype
        normal_D = x_D * scale_1
        product_D = outer_D * normal_D
        weight_gradient_D = product_D.flatten(0, -2).sum(0).to(weight_D.dtype) if ctx.needs_input_grad[1] else None
        full_D = weight_D.to(exact) + cast(float, ctx.offset)
        # d/dx of x·s with s = (mean(x²) + ε)^(−1/2): s·(g − n·mean(g·n)), where n = x·s and g = outer·(w + offset)
        mean_1 = (product_D @ full_D).div_(x_D.shape[-1]).unsqueeze(-1)
        gradient_D = (outer_D * full_D).sub_(normal_D.mul_(mean_1)).mul_(scale_1)
        return gradient_D.to(x_D.dtype), weight_gradient_D, None, None


def replace_norms(model: torch.nn.Module) -> None:
    """Make a model's RMS norms use `_RMSNorm`, wherever that computes the same."""
    known: dict[type, float | None] = {}
    for module in model.modules():
        kind = type(module)
        epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if not kind.__name__.endswith("RMSNorm") or not isinstance(epsilon, float):
            continue
        if kind not in known:
            known[kind] = _offset(with_numbers(module), epsilon)
        offset = known[kind]
        if offset is not None:
            replace_forward(module, _norm(epsilon, offset))


def _norm(epsilon: float, offset: float) -> Callable[[torch.nn.Module, Tensor], Tensor]:
    """The forward pass of a norm with these numbers."""

    def forward(module: torch.nn.Module, x_D: Tensor) -> Tensor:
        return cast(Tensor, cast(Any, _RMSNorm).apply(x_D, module.weight, epsilon, offset))

    return forward


@torch.no_grad()
def _offset(module: torch.nn.Module, epsilon: float) -> float | None:
    """What a kind of norm adds to its weights (Gemma: 1); None where it computes something else."""
    weight_D = getattr(module, "weight", None)
    if not isinstance(weight_D, torch.Tensor) or weight_D.ndim != 1:
        return None
    x_D = torch.linspace(-2, 3, 2 * len(weight_D), device=weight_D.device).view(2, -1).to(weight_D.dtype)
    theirs = module(x_D)
    return next((offset for offset in (0.0, 1.0) if alike(_norm(epsilon, offset)(module, x_D), theirs)), None)
