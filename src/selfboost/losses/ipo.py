"""IPO, arXiv 2310.12036, equation 17: (h − 1/(2τ))², h the log-ratio of policy to reference, chosen less rejected.

The paper's log-probabilities are those of whole answers, sums over tokens: the default here. TRL averages them over
tokens (a setting); the same τ then means a far stronger pull, since averages are smaller by the answer's length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from selfboost.losses import PairScores
from selfboost.setting_types import Positive

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class IPO:
    """Identity Preference Optimization: push the margin over the reference to 1/(2τ), not beyond."""

    tau: Positive = 0.1
    """Strength of the tie to the reference (`beta` in TRL): the target margin is 1/(2τ)."""
    log_probability: Literal["sum", "mean"] = "sum"
    """An answer's log-probability: the sum over its tokens (the paper) or their mean (TRL)."""

    @property
    def needs_reference(self) -> bool:
        """Always."""
        return True

    @property
    def head(self) -> Literal["logps", "reward"]:
        """Trains a language model."""
        return "logps"

    def losses(self, scores: PairScores) -> Tensor:
        """Loss of each pair."""
        chosen_B, rejected_B = self._log_ratios(scores)
        return (chosen_B - rejected_B - 1 / (2 * self.tau)).square()

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """τ·(log-probability − the reference's), detached: the target margin is ½."""
        chosen_B, rejected_B = self._log_ratios(scores)
        return self.tau * chosen_B.detach(), self.tau * rejected_B.detach()

    def _log_ratios(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = scores.log_ratios
        if self.log_probability == "mean":
            return chosen_B / scores.chosen_tokens_B, rejected_B / scores.rejected_tokens_B
        return chosen_B, rejected_B
