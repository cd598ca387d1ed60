"""Activations recomputed in the backward pass by transformers' own layers; dropout stays off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from selfboost.train.model.forwards import replace_forward


def recompute_activations(model: PreTrainedModel) -> None:
    """Layers recompute in training mode alone; what is inside them stays in evaluation mode, so dropout stays off."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    untyped = cast(Any, model)
    getattr(untyped, "activation_checkpointing_enable", untyped.gradient_checkpointing_enable)()
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True
            replace_forward(module, _evaluated(_forward_of(module)))


def _forward_of(module: torch.nn.Module) -> Callable[..., Any]:
    """A module's forward pass as a function of the module, whether its class or the module itself has it."""
    own = cast("Callable[..., Any] | None", vars(module).get("forward"))

    def forward(_module: torch.nn.Module, *given: Any, **named: Any) -> Any:
        assert own is not None, "called where the module has a forward pass of its own"
        return own(*given, **named)

    return type(module).forward if own is None else forward


def _evaluated(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's forward pass in evaluation mode: some layers apply dropout by their own mode, not their parts'."""

    def evaluated(layer: torch.nn.Module, *given: Any, **named: Any) -> Any:
        layer.training = False
        try:
            return forward(layer, *given, **named)
        finally:
            layer.training = True

    return evaluated
