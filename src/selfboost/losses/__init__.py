"""Losses: pure functions of tensors. A file here is a loss if it defines the class of its own name.

Shapes: B pairs. All log-probabilities are natural, summed over the completion's tokens (end-of-turn included).
`torch` is imported only inside the methods: reading a recipe must not need it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, cast, runtime_checkable

from selfboost.losses.noise_settings import Noise

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PairScores:
    """A loss's input: a batch of B pairs."""

    chosen_B: Tensor
    """Policy's summed log-probability of the chosen completion (for a reward model: its reward)."""
    rejected_B: Tensor
    chosen_tokens_B: Tensor
    """Tokens of the completion, as floats."""
    rejected_tokens_B: Tensor
    reference_chosen_B: Tensor | None = None
    """The reference model's summed log-probability; None if the loss needs no reference."""
    reference_rejected_B: Tensor | None = None

    @property
    def log_ratios(self) -> tuple[Tensor, Tensor]:
        """(chosen, rejected): the policy's log-probability less the reference's, for each pair."""
        assert self.reference_chosen_B is not None, "this loss needs the reference's log-probabilities"
        assert self.reference_rejected_B is not None, "this loss needs the reference's log-probabilities"
        return self.chosen_B - self.reference_chosen_B, self.rejected_B - self.reference_rejected_B

    def log_ratios_over(self, tokens: Literal["sum", "mean"]) -> tuple[Tensor, Tensor]:
        """`log_ratios` summed over an answer's tokens, as they are, or their mean over them."""
        chosen_B, rejected_B = self.log_ratios
        if tokens == "mean":
            return chosen_B / self.chosen_tokens_B, rejected_B / self.rejected_tokens_B
        return chosen_B, rejected_B


class Loss(Protocol):
    """A preference loss."""

    @property
    def needs_reference(self) -> bool: ...

    @property
    def head(self) -> Literal["logps", "reward"]:
        """What is trained: a language model, by log-probabilities, or a reward model, by its output."""
        ...

    def losses(self, scores: PairScores) -> Tensor:
        """Loss of each pair, shape (B,); differentiable."""
        ...

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        """Implicit rewards (chosen, rejected), each (B,), detached: the basis of the logged margin and accuracy."""
        ...


@dataclass(frozen=True, kw_only=True)
class AgainstReference:
    """What losses of a language model's log-ratios to a reference have in common."""

    @property
    def needs_reference(self) -> bool:
        """Always."""
        return True

    @property
    def head(self) -> Literal["logps", "reward"]:
        """Trains a language model."""
        return "logps"


@runtime_checkable
class NoisyLoss(Loss, Protocol):
    """A loss whose reference is noisy on rejected answers: trainers and methods ask for this, not for a class."""

    @property
    def beta(self) -> float:
        """Factor of its margins; an automatic noise scale is measured with it."""
        ...

    @property
    def noise(self) -> Noise:
        """Settings of the noise; with scale = 0 there is none."""
        ...

    def with_noise(self, noise: Noise) -> Self:
        """The same loss with different noise."""
        ...

    def noise_losses(self, scores: PairScores) -> Tensor:
        """The noise's objective for each pair, shape (B,), without its penalty.

        `scores.reference_rejected_B` is noisy and differentiable; no gradient may reach the policy.
        """
        ...


@runtime_checkable
class ConsistencyLoss(Loss, Protocol):
    """A loss that holds its labels right only with some probability, which a method estimates in each iteration."""

    @property
    def consistency(self) -> float:
        """The weight of the labels as they are, against the same labels reversed."""
        ...

    def with_consistency(self, consistency: float) -> Self:
        """The same loss with another consistency."""
        ...


def noisy(loss: Loss) -> NoisyLoss | None:
    """The loss if it puts noise on its reference; None if it cannot, or its noise has scale = 0."""
    return loss if isinstance(loss, NoisyLoss) and loss.noise.scale else None


def beta_of(loss: Loss) -> float | None:
    """The loss's setting `beta`; None for a loss without one."""
    settings = {f.name for f in fields(cast(Any, loss))}
    return float(cast(Any, loss).beta) if "beta" in settings else None


def with_beta(loss: Loss, beta: float) -> Loss:
    """The same loss with another `beta`; the loss must have one (`beta_of`)."""
    assert beta_of(loss) is not None, f"{type(loss).__name__} has no beta"
    return replace(cast(Any, loss), beta=beta)
