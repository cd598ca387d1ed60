"""Losses: pure functions of tensors. A file here is a loss when it defines the class of its own name.

Shapes: B pairs. All log-probabilities are natural, summed over the completion's tokens (end-of-turn included).
`torch` is imported inside the methods alone: reading a recipe must not need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PairScores:
    """What a loss sees of a batch of B pairs."""

    chosen_B: Tensor
    """Policy's summed log-probability of the chosen completion (for a reward model: its reward)."""
    rejected_B: Tensor
    chosen_tokens_B: Tensor
    """Tokens of the completion, as floats."""
    rejected_tokens_B: Tensor
    reference_chosen_B: Tensor | None = None
    """The reference model's summed log-probability; None where the loss needs no reference."""
    reference_rejected_B: Tensor | None = None


class Loss(Protocol):
    """A preference loss."""

    @property
    def needs_reference(self) -> bool: ...

    @property
    def head(self) -> Literal["logps", "reward"]:
        """What is trained: a language model by log-probabilities, or a reward model by its scalar."""
        ...

    def losses(self, scores: PairScores) -> Tensor:
        """Loss of each pair, shape (B,); differentiable."""
        ...

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """Implicit rewards (chosen, rejected), each (B,), detached: what the logged margin and accuracy are made of."""
        ...
