"""IPO, arXiv 2310.12036, equation 17: (h − 1/(2τ))², h the log-ratio of policy to reference, chosen less rejected.

The paper's log-probabilities are those of whole answers, sums over tokens: the default here. TRL averages them over
tokens (a setting); the same τ then means a far stronger pull, since averages are smaller by the answer's length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from selfboost.losses import AgainstReference, PairScores
from selfboost.setting_types import Positive

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class IPO(AgainstReference):
    """Identity Preference Optimization: push the margin over the reference to 1/(2τ), not beyond."""

    tau: Positive = 0.1
    """Strength of the tie to the reference (`beta` in TRL): the target margin is 1/(2τ)."""
    log_probability: Literal["sum", "mean"] = "sum"
    """An answer's log-probability: the sum over its tokens (the paper) or their mean (TRL)."""

    def losses(self, scores: PairScores) -> Tensor:
        """Loss of each pair."""
        chosen_B, rejected_B = scores.log_ratios_over(self.log_probability)
        return (chosen_B - rejected_B - 1 / (2 * self.tau)).square()

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """τ·(log-probability − the reference's), detached: the target margin is ½."""
        chosen_B, rejected_B = scores.log_ratios_over(self.log_probability)
        return self.tau * chosen_B.detach(), self.tau * rejected_B.detach()
