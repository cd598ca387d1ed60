"""DPO, arXiv 2305.18290, equation 7: −log σ(β·[(lp_w − ref_w) − (lp_l − ref_l)]), log-probabilities summed over tokens.

Label smoothing is conservative DPO (Mitchell 2023, "A note on DPO with noisy preferences"); the hinge puts the same
margin into the loss of SLiC (arXiv 2305.10425, equation 1); the offset is ODPO's (arXiv 2402.10571), one
constant for all pairs; means over tokens are Tulu 3's length-normalised DPO (arXiv 2411.15124). Only the reverse KL
divergence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from selfboost.losses import AgainstReference, PairScores
from selfboost.losses.curves import check_shape, margin_losses
from selfboost.setting_types import NEW, Positive, Score

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DPO(AgainstReference):
    """Direct Preference Optimization: prefer the chosen answer more than the reference model does."""

    beta: Positive = 0.1
    """Strength of the tie to the reference: larger stays closer."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of pairs assumed to be mislabelled."""
    shape: Literal["sigmoid", "hinge"] = "sigmoid"
    """The loss as a function of the margin m: −log σ(m), or max(0, 1 − m)."""
    offset: Score = field(default=0.0, metadata=NEW)
    """Subtracted from β times the margin over the reference: what it must exceed. A large one keeps every pair's weight
    near 1."""
    log_probability: Literal["sum", "mean"] = field(default="sum", metadata=NEW)
    """An answer's log-probability: the sum over its tokens, or their mean; β then means a far weaker pull."""

    def __post_init__(self) -> None:
        check_shape(self.shape, self.label_smoothing)

    def losses(self, scores: PairScores) -> Tensor:
        """Loss of each pair."""
        chosen_B, rejected_B = self._rewards(scores)
        return self.curve(chosen_B - rejected_B)

    def curve(self, margins_B: Tensor) -> Tensor:
        """Loss of each pair from β times its margin."""
        return margin_losses(margins_B - self.offset, self.shape, self.label_smoothing)

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """β·(log-probability − the reference's), detached (equation 5 without its constant)."""
        chosen_B, rejected_B = self._rewards(scores)
        return chosen_B.detach(), rejected_B.detach()

    def _rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = scores.log_ratios_over(self.log_probability)
        return self.beta * chosen_B, self.beta * rejected_B
