"""The optimiser and its learning rate. bfloat16 weights have float32 masters; gradients are summed in float32.

Weight decay spares vectors (norms, biases), as is usual. RMSprop is PyTorch's as it stands (alpha 0.99, epsilon 1e-8,
no momentum): what `optim: rmsprop` means in SPIN's recipes, and in DNPO's after them. Of sharded weights, each process
holds its part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from selfboost.extras import require
from selfboost.train import Training
from selfboost.train.devices.sharding import spread_as, whole

ADDED = 2**20
"""Elements of a gradient that are added at a time."""


def learning_rate(step: int, steps: int, training: Training) -> float:
    """Learning rate of a step (counted from 0).

    The warm-up reaches the peak at its last step, so no step has a rate of 0; the decay would reach 0 one step after
    the last.
    """
    warmup = math.ceil(training.warmup * steps)
    if step < warmup:
        return training.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    falls = {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
    return training.learning_rate * falls[training.schedule]


class Optimizer:
    """AdamW, also with moments in 8 bits, or RMSprop over a model's parameters, with gradient clipping."""

    def __init__(self, parameters: Iterable[Tensor], training: Training) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.masters = [_master(parameter) for parameter in self.parameters]
        self.max_norm = training.max_gradient_norm
        matrices = [master for master in self.masters if master.ndim > 1]
        vectors = [master for master in self.masters if master.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": matrices, "weight_decay": training.weight_decay}]
        groups.append({"params": vectors, "weight_decay": 0.0})
        self._inner = _inner(groups, training)
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if master is not parameter:
                # A hook that held the optimiser would keep all of it for ever: Python sees no cycle through a hook.
                parameter.register_post_accumulate_grad_hook(partial(_collect, master))

    def clip(self) -> float:
        """Clip the gradients to the largest allowed norm; returns the norm before clipping."""
        return float(whole(torch.nn.utils.clip_grad_norm_(self.masters, self.max_norm)))

    def gradients(self, *, complete: bool = False) -> list[Tensor]:
        """The masters' gradients of this step, live; `complete`: of every master, 0 where it has none."""
        if complete:
            for master in self.masters:
                master.grad = torch.zeros_like(master) if master.grad is None else master.grad
        return [master.grad for master in self.masters if master.grad is not None]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update at a learning rate; clears the gradients."""
        for group in self._inner.param_groups:
            group["lr"] = rate
        self._inner.step()
        for master in self.masters:
            master.grad = None  # the next forward pass needs the memory for its activations
        self.copy_back()

    def state(self) -> dict[str, Any]:
        """All that is needed to go on: masters and moments, live; sharded ones are."""
        return {"masters": [master.detach() for master in self.masters], "moments": self._inner.state_dict()}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`, whole or sharded alike; sets the model's parameters too."""
        for master, saved in zip(self.masters, state["masters"], strict=True):
            master.copy_(spread_as(saved, master))
        order = [master for group in self._inner.param_groups for master in group["params"]]
        moments = state["moments"]
        kept = {
            at: {name: spread_as(x, order[at]) if isinstance(x, Tensor) else x for name, x in one.items()}
            for at, one in moments["state"].items()
        }
        self._inner.load_state_dict(moments | {"state": kept})
        self.copy_back()

    @torch.no_grad()
    def copy_back(self) -> None:
        """Set the model's parameters to their masters."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if master is not parameter:
                parameter.copy_(master)


@torch.no_grad()
def _collect(master: Tensor, parameter: Tensor) -> None:
    """Add a micro-batch's gradient to the master's as soon as it exists, and free it."""
    assert parameter.grad is not None, "called when a gradient has been made"
    if master.grad is None:
        master.grad = parameter.grad.to(master.dtype)
    else:
        _add(parameter.grad, master.grad)
    parameter.grad = None


def _add(gradient: Tensor, into: Tensor) -> None:
    """Add a gradient in the number type of `into`."""
    flat, sums = gradient.view(-1), into.view(-1)
    for start in range(0, len(flat), ADDED):  # by parts: what is added is widened first
        sums[start : start + ADDED] += flat[start : start + ADDED]


def _inner(groups: list[dict[str, Any]], training: Training) -> torch.optim.Optimizer:
    match training.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, betas=(0.9, 0.999), fused=True)
        case "adamw_8bit":
            return require_bitsandbytes().optim.AdamW8bit(groups, betas=(0.9, 0.999))
        case "rmsprop":
            return torch.optim.RMSprop(groups, alpha=0.99, eps=1e-8)


def require_bitsandbytes() -> Any:
    """bitsandbytes, or an error that says how to install it."""
    return require("bitsandbytes", extra="eight-bit", setting="training.optimizer = 'adamw_8bit'")


def _master(parameter: Tensor) -> Tensor:
    if parameter.dtype == torch.promote_types(parameter.dtype, torch.float32):
        return parameter
    return parameter.detach().float().requires_grad_()
