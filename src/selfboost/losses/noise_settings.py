"""Settings of the trainable noise on a reference model's logits (DNPO, arXiv 2502.05400).

Gaussian noise of mean 0, on rejected answers only. Its strength is a function of the reference's last hidden state,
with one value per position and vocabulary entry. The arithmetic is in `train/noise/module.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selfboost.setting_types import NotNegative, Positive, Several

Spread = Literal["deviation", "variance"]
"""A standard deviation σ, or its square."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise on the reference's logits of rejected answers: σ = c·exp(g(h)), h the reference's last hidden state."""

    scale: NotNegative | Literal["auto"] = 1.0
    """c. 0 = no noise; "auto" makes |mean of β·m| equal to `start` before the first step."""
    start: Positive = 1.0
    """Target of scale = "auto": |mean of β·m|, m being the margin that the noise takes from the chosen answer."""
    module: Literal["layer_norm_gelu", "affine"] = "layer_norm_gelu"
    """g: LayerNorm, GELU, a linear layer without bias (the authors' code), or a linear layer with bias (the paper)."""
    exponential_of: Spread = "deviation"
    """What c·exp(g(h)) is: σ (the authors' code), or σ²."""
    largest_variance: NotNegative = 0.0
    """Bound b of σ² (the paper has one, the authors' code none): v becomes v·b / (v + b); 0 = no bound."""
    penalty_weight: NotNegative = 1.0
    """α: weight of the noise's mean size in its loss."""
    penalty_on: Spread = "deviation"
    """Mean of σ (the authors' code) or of σ² (the paper), over the vocabulary and the answer's positions."""
    trained: bool = True
    """Whether g is trained; false: it keeps its initial weights."""
    schedule: Literal["simultaneous", "alternating"] = "simultaneous"
    """Train policy and noise in every step, or in turns, the noise first."""
    turn: Several = 1
    """Steps per turn, if they alternate."""
    optimizer: Literal["adamw", "rmsprop"] | None = None
    """Optimiser of g; default: the policy's."""
    learning_rate: Positive | None = None
    """Peak learning rate of g; default: the policy's."""
    max_gradient_norm: Positive | None = None
    """g's gradient is clipped to this norm; default: the policy's."""
