"""Gated feed-forward layers (SwiGLU) that keep two tensors fewer for the backward pass.

They replace a model's own forward pass where that is down(silu(gate(x)) · up(x)), Shazeer 2020 (arXiv 2002.05202),
equation 6; the three projections stay the same modules, adapters included.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from selfboost.engines.alike import alike
from selfboost.train.model.forwards import replace_forward
from selfboost.train.model.numbers import with_numbers

PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


class _Gated(torch.autograd.Function):
    """silu(gate) · up; silu is recomputed in the backward pass."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = cast("tuple[Tensor, Tensor]", ctx.saved_tensors)
        return _gradients(gate, up, torch.nn.functional.silu(gate), gradients[0])


class _GatedDown(torch.autograd.Function):
    """(silu(gate) · up)·Wᵀ; the product with up is recomputed, too."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up, weight)
        return torch.nn.functional.linear(torch.nn.functional.silu(gate).mul_(up), weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, weight = cast("tuple[Tensor, Tensor, Tensor]", ctx.saved_tensors)
        outer = gradients[0]
        silu = torch.nn.functional.silu(gate)
        of_weight = None
        if ctx.needs_input_grad[2]:
            of_weight = outer.flatten(0, -2).T @ (silu * up).flatten(0, -2)
        return *_gradients(gate, up, silu, outer @ weight), of_weight


def _gradients(gate: Tensor, up: Tensor, silu: Tensor, outer: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of gate and up; `silu` is silu(gate), which is overwritten."""
    return torch.ops.aten.silu_backward(outer * up, gate), silu.mul_(outer)


def replace_gates(model: torch.nn.Module) -> None:
    """Make a model's feed-forward layers use `_Gated`, wherever that computes the same."""
    known: dict[type, bool] = {}
    for module in model.modules():
        kind = type(module)
        if not all(isinstance(getattr(module, name, None), torch.nn.Linear) for name in PROJECTIONS):
            continue
        if kind not in known:
            known[kind] = _is_gated(with_numbers(module))
        if known[kind]:
            replace_forward(module, _forward)


def _forward(module: Any, x: Tensor) -> Tensor:
    gate, up, down = module.gate_proj(x), module.up_proj(x), module.down_proj
    alone = type(down) is torch.nn.Linear and cast("Tensor | None", down.bias) is None
    if alone:  # no adapter, which would see what enters it
        return cast(Any, _GatedDown).apply(gate, up, down.weight)
    return down(cast(Any, _Gated).apply(gate, up))


@torch.no_grad()
def _is_gated(module: Any) -> bool:
    weight = cast(Tensor, module.gate_proj.weight)
    x = torch.linspace(-1, 1, 2 * weight.shape[1], device=weight.device).view(2, -1).to(weight.dtype)
    try:
        theirs = cast(Tensor, module(x))
    except (TypeError, RuntimeError):
        return False
    return alike(_forward(module, x), theirs)
