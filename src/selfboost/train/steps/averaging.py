"""A moving average of the weights (EMA), which smooths out the noise of single steps.

After every step: average ← decay · average + (1 − decay) · weights, from the start's weights on; the average becomes
the model. For an adapter, the two factors are averaged, not their product. No bias correction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from selfboost.train.devices.sharding import spread_as


class Average:
    """The average of weights that change in place; sharded as they are."""

    def __init__(self, weights: Sequence[Tensor], decay: float) -> None:
        self.weights, self.decay = list(weights) if decay else list[Tensor](), decay
        self.tensors = [weight.detach().clone() for weight in self.weights]
        """In the number type of the weights; None if averaging is off."""

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the current weights."""
        for tensor, weight in zip(self.tensors, self.weights, strict=True):
            tensor.lerp_(weight, 1 - self.decay)

    def state(self) -> list[Tensor]:
        """The tensors, live."""
        return self.tensors

    @torch.no_grad()
    def restore(self, saved: Sequence[Tensor]) -> None:
        """Go on from another average, whole or sharded alike."""
        for tensor, other in zip(self.tensors, saved, strict=True):
            tensor.copy_(spread_as(other, tensor))

    @torch.no_grad()
    def take_place(self) -> None:
        """Replace the weights by their average."""
        for tensor, weight in zip(self.tensors, self.weights, strict=True):
            weight.copy_(tensor)
