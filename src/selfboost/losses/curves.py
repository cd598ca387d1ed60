"""Curves that turn a margin into a loss: logistic (with label smoothing) and hinge.

Shapes: B pairs. A margin above 0 means that the model prefers the chosen answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Shape = Literal["sigmoid", "hinge"]


def check_shape(shape: Shape, label_smoothing: float) -> None:
    """Check that the settings fit together.

    Raises:
        ValueError: a value is out of range, or label smoothing with the hinge, which has no probability to smooth.
    """
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"loss.label_smoothing = {label_smoothing}: must be at least 0 and below 0.5")
    if shape == "hinge" and label_smoothing:
        raise ValueError(f"loss.label_smoothing = {label_smoothing} with shape = 'hinge': only 'sigmoid' can smooth")


def margin_losses(margins_B: Tensor, shape: Shape, label_smoothing: float) -> Tensor:
    """Loss of each pair: −(1−ε)·log σ(m) − ε·log σ(−m), or max(0, 1 − m)."""
    from torch.nn import functional

    if shape == "hinge":
        return functional.relu(1 - margins_B)
    # log σ as a log-sum-exp: exact for margins of any size.
    right_B, wrong_B = functional.logsigmoid(margins_B), functional.logsigmoid(-margins_B)
    return -(1 - label_smoothing) * right_B - label_smoothing * wrong_B
