"""Activations recomputed in the backward pass by transformers' own layers; dropout stays off."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from transformers import PreTrainedModel


def recompute_activations(model: PreTrainedModel) -> None:
    """Layers recompute in training mode alone; what is inside them stays in evaluation mode, so dropout stays off."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    untyped = cast(Any, model)
    getattr(untyped, "activation_checkpointing_enable", untyped.gradient_checkpointing_enable)()
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True
            module.forward = partial(_evaluated, module, module.forward)


def _evaluated(layer: torch.nn.Module, forward: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """A layer's forward pass in evaluation mode: some layers apply dropout by their own mode, not their parts'."""
    layer.training = False
    try:
        return forward(*given, **named)
    finally:
        layer.training = True
