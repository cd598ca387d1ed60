"""Modules with numbers in them, where a model's own weights are spread over processes."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch.distributed.tensor import DTensor


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
