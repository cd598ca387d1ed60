"""SPPO, arXiv 2405.00675: (h_w − η/2)² + (h_l + η/2)², h the log-ratio of policy to reference, summed over tokens.

The paper regresses h on η·(P − ½), P the probability that the answer beats the previous policy's, by a preference
model over several samples. Here, as in TRL's `sppo_hard`, P is 1 for the chosen answer and 0 for the rejected one; the
graded form is left out, since a pair carries no probability. Unlike IPO, each side is held, not their difference alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfboost.losses import AgainstReference, PairScores
from selfboost.setting_types import Positive

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SPPO(AgainstReference):
    """Self-Play Preference Optimization: chosen answers' log-ratios to η/2, rejected ones' to −η/2."""

    eta: Positive = 1000.0
    """η: how far an answer's log-ratio is to move, in nats, twice (the paper's 1000; 1/β in TRL)."""

    def losses(self, scores: PairScores) -> Tensor:
        """Loss of each pair."""
        chosen_B, rejected_B = scores.log_ratios
        return (chosen_B - self.eta / 2).square() + (rejected_B + self.eta / 2).square()

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """(Log-probability − the reference's) / η, detached: the targets are ½ and −½."""
        chosen_B, rejected_B = scores.log_ratios
        return chosen_B.detach() / self.eta, rejected_B.detach() / self.eta
