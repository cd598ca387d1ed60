"""CREAM's loss, arXiv 2410.12735: C·DPO(chosen over rejected) + (1−C)·DPO(rejected over chosen).

Log-probabilities are summed over tokens. C is one number for all pairs, the consistency rate, which the method `cream`
estimates in each iteration. At C = ½ the loss is least where the margin is 0: nothing is learned. Above, it equals
`dpo` with label smoothing 1−C. Left out: the public code's other form, a C for each pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from selfboost.losses import AgainstReference, PairScores
from selfboost.losses.curves import margin_losses
from selfboost.setting_types import Positive, Share

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ConsistencyDPO(AgainstReference):
    """DPO on labels that are held right only as often as two models' rankings agree (arXiv 2410.12735)."""

    beta: Positive = 0.1
    """Strength of the tie to the reference: larger stays closer."""
    consistency: Share = 1.0
    """C, the weight of the labels as they are; the method `cream` replaces it by its estimate (1: plain DPO)."""

    def with_consistency(self, consistency: float) -> Self:
        """The same loss with another consistency."""
        return replace(self, consistency=consistency)

    def losses(self, scores: PairScores) -> Tensor:
        """Loss of each pair."""
        chosen_B, rejected_B = self._rewards(scores)
        return margin_losses(chosen_B - rejected_B, "sigmoid", 1 - self.consistency)

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """β·(log-probability − the reference's), detached."""
        chosen_B, rejected_B = self._rewards(scores)
        return chosen_B.detach(), rejected_B.detach()

    def _rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = scores.log_ratios
        return self.beta * chosen_B, self.beta * rejected_B
