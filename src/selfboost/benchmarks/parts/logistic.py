"""Logistic regression on shares of wins, without an intercept, for length control and Bradley–Terry scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

STEPS = 100
"""Most Newton steps of a fit; five to ten are enough unless wins are separable."""
RIDGE = 1e-6
"""Penalty that keeps the fit finite where one feature separates wins from losses."""


def logistic_fit(features_RF: Array, won_R: Array, played_R: Array, start: Array | None = None) -> Array:
    """Weights that maximise the likelihood of `won` of `played`, either of which may be a fraction. Newton's method."""
    import numpy as np

    weights_F = np.zeros(features_RF.shape[1]) if start is None else start
    for _ in range(STEPS):
        chance_R = 1 / (1 + np.exp(-(features_RF @ weights_F)))
        slope_F = features_RF.T @ (won_R - played_R * chance_R) - RIDGE * weights_F
        curvature_FF = (features_RF.T * (played_R * chance_R * (1 - chance_R))) @ features_RF
        step_F = np.linalg.solve(curvature_FF + RIDGE * np.eye(len(weights_F)), slope_F)
        weights_F = weights_F + step_F
        if float(np.abs(step_F).max()) < 1e-10:
            break
    return weights_F
