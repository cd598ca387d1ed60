"""The reward model's loss, arXiv 2203.02155, equation 1: −log σ(r_w − r_l), after Bradley and Terry (1952).

No per-pair margins, no centring of rewards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from selfboost.losses import PairScores
from selfboost.losses.curves import check_shape, margin_losses

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class BradleyTerry:
    """Trains a reward model: the chosen answer's reward above the rejected one's."""

    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of pairs assumed to be mislabelled."""

    def __post_init__(self) -> None:
        check_shape("sigmoid", self.label_smoothing)

    @property
    def needs_reference(self) -> bool:
        """Never."""
        return False

    @property
    def head(self) -> Literal["logps", "reward"]:
        """Trains a scalar head."""
        return "reward"

    def losses(self, scores: PairScores) -> Tensor:
        """Loss of each pair."""
        return margin_losses(scores.chosen_B - scores.rejected_B, "sigmoid", self.label_smoothing)

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """The rewards themselves, detached."""
        return scores.chosen_B.detach(), scores.rejected_B.detach()
