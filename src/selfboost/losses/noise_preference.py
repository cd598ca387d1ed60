"""Noise preference optimisation, the loss of DNPO (arXiv 2502.05400): DPO whose reference is noisy on rejected answers.

m = [lp_w − lp_l] − [ref_w − ref~_l], log-probabilities summed over tokens. The policy lowers −log σ(β·m), the noise
raises it: its loss is log σ(β·m') under its own draw, plus its mean size. No gradient passes from one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from selfboost.losses.dpo import DPO
from selfboost.losses.noise_settings import Noise

if TYPE_CHECKING:
    from torch import Tensor

    from selfboost.losses import PairScores


@dataclass(frozen=True, kw_only=True)
class NoisePreference(DPO):
    """DPO with trainable noise on the reference's logits of rejected answers."""

    noise: Noise = field(default_factory=Noise)
    """The noise; with scale = 0 the loss is DPO's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.log_probability != "sum":
            raise ValueError(f'log_probability = "{self.log_probability}": must be "sum", the noise is on sums')

    def with_noise(self, noise: Noise) -> Self:
        """The same loss with different noise."""
        return replace(self, noise=noise)

    def noise_losses(self, scores: PairScores) -> Tensor:
        """The noise's objective for each pair, shape (B,), without its penalty: minus the policy's loss.

        `scores.reference_rejected_B` is noisy and differentiable; no gradient reaches the policy.
        """
        assert scores.reference_chosen_B is not None, "the noise is on the reference's log-probabilities"
        assert scores.reference_rejected_B is not None, "the noise is on the reference's log-probabilities"
        chosen_B, rejected_B = scores.chosen_B.detach(), scores.rejected_B.detach()
        margins_B = (chosen_B - rejected_B) - (scores.reference_chosen_B - scores.reference_rejected_B)
        return -self.curve(self.beta * margins_B)
