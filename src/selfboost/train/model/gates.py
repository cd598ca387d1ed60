"""Gated feed-forward layers (SwiGLU) that keep one tensor fewer for the backward pass.

They replace a model's own forward pass where that is down(silu(gate(x)) · up(x)), Shazeer 2020 (arXiv 2002.05202),
equation 6; the three projections stay the same modules, adapters included.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from selfboost.engines.alike import alike
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
        of_gate = torch.ops.aten.silu_backward(gradients[0] * up, gate)
        return of_gate, torch.nn.functional.silu(gate).mul_(gradients[0])


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
            module.forward = partial(_forward, module)


def _forward(module: Any, x: Tensor) -> Tensor:
    return module.down_proj(cast(Any, _Gated).apply(module.gate_proj(x), module.up_proj(x)))


@torch.no_grad()
def _is_gated(module: Any) -> bool:
    weight = cast(Tensor, module.gate_proj.weight)
    x = torch.linspace(-1, 1, 2 * weight.shape[1], device=weight.device).view(2, -1).to(weight.dtype)
    try:
        theirs = cast(Tensor, module(x))
    except (TypeError, RuntimeError):
        return False
    return alike(_forward(module, x), theirs)
