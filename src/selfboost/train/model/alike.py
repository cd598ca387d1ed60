"""Whether two computations gave the same result: checked before ours replaces a model's own."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


def alike(ours: Tensor, theirs: Tensor) -> bool:
    """Whether they differ by rounding only, relative to each entry or to the largest one."""
    tolerance = 0.02 if theirs.dtype == torch.bfloat16 else 1e-5
    return torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()))


def with_numbers(module: torch.nn.Module) -> torch.nn.Module:
    """The module, or a copy with made-up weights where its own are spread over processes."""
    if not any(isinstance(parameter, DTensor) for parameter in module.parameters()):
        return module
    made = deepcopy(module)
    for name, parameter in list(made.named_parameters()):
        place, _, last = name.rpartition(".")
        numbers = torch.linspace(-1, 1, parameter.numel(), device=parameter.device).view(parameter.shape)
        setattr(made.get_submodule(place), last, torch.nn.Parameter(numbers, requires_grad=False))
    return made
