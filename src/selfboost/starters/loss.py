"""Starter: the chosen answer likelier than the rejected one by a margin, per token; no reference model.

A loss is a pure function of tensors: B pairs in, B losses out. docs/guides/loss.md says more, and how to prove it.

Shapes: B pairs. Log-probabilities are natural, summed over the answer's tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from selfboost import PairScores
from selfboost.setting_types import NotNegative

if TYPE_CHECKING:
    from torch import Tensor  # for the types alone: reading a recipe must not need PyTorch


@dataclass(frozen=True, kw_only=True)
class Starter:
    """Hinge on the difference of mean log-probabilities."""

    margin: NotNegative = 0.5
    """Difference from which a pair teaches nothing more, in nats per token."""

    @property
    def needs_reference(self) -> bool:
        """Never: with True, `scores.reference_chosen_B` and `scores.reference_rejected_B` are there."""
        return False

    @property
    def head(self) -> Literal["logps", "reward"]:
        """Trains a language model; "reward" would train a reward model."""
        return "logps"

    def losses(self, scores: PairScores) -> Tensor:
        """Loss of each pair, shape (B,), differentiable."""
        chosen_B, rejected_B = self._means(scores)
        return (self.margin - (chosen_B - rejected_B)).clamp(min=0)

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """What the logged margin and accuracy are made of: mean log-probabilities, each (B,), detached."""
        chosen_B, rejected_B = self._means(scores)
        return chosen_B.detach(), rejected_B.detach()

    def _means(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        return scores.chosen_B / scores.chosen_tokens_B, scores.rejected_B / scores.rejected_tokens_B
