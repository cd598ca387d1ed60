"""SimPO, arXiv 2405.14734, equation 6: −log σ(β·mean-logp(y_w) − β·mean-logp(y_l) − γ), means over the answer's tokens.

γ itself, as in the paper and in SynPO (arXiv 2410.06961, γ = 1.6), not the ratio γ/β of the authors' recipes.
Label smoothing, hinge and the likelihood term are those of the authors' code; its defaults leave all three off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from selfboost.losses import PairScores
from selfboost.losses.curves import check_shape, margin_losses
from selfboost.setting_types import NotNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SimPO:
    """Simple Preference Optimization: mean log-probabilities apart by a margin, no reference model."""

    beta: Positive = 2.0
    """Scale of the mean log-probabilities (2 to 10 in the papers)."""
    gamma: NotNegative = 1.6
    """Target margin by which β·mean-logp of the chosen answer exceeds that of the rejected one."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of pairs assumed to be mislabelled."""
    shape: Literal["sigmoid", "hinge"] = "sigmoid"
    """The loss as a function of the margin m: −log σ(m), or max(0, 1 − m)."""
    nll_weight: NotNegative = 0.0
    """Weight of the chosen answer's mean negative log-likelihood, added to the loss."""

    def __post_init__(self) -> None:
        check_shape(self.shape, self.label_smoothing)

    @property
    def needs_reference(self) -> bool:
        """Never."""
        return False

    @property
    def head(self) -> Literal["logps", "reward"]:
        """Trains a language model."""
        return "logps"

    def losses(self, scores: PairScores) -> Tensor:
        """Loss of each pair."""
        chosen_B, rejected_B = _mean_logps(scores)
        margins_B = self.beta * (chosen_B - rejected_B) - self.gamma
        return margin_losses(margins_B, self.shape, self.label_smoothing) - self.nll_weight * chosen_B

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """β·mean log-probability, detached (equation 4)."""
        chosen_B, rejected_B = _mean_logps(scores)
        return self.beta * chosen_B.detach(), self.beta * rejected_B.detach()


def _mean_logps(scores: PairScores) -> tuple[Tensor, Tensor]:
    return scores.chosen_B / scores.chosen_tokens_B, scores.rejected_B / scores.rejected_tokens_B
