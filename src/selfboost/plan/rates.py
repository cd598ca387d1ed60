"""Learning rates, batch and passes that fit a model's size and the number of examples.

The rates fall with a power of the parameters, through measurements on models of 0.26, 0.86 and 1.25 million parameters
(`python -m benchmarks.rates`, docs/log.md) and published practice at 7 billion: fine-tuning at 1e-5 to 2e-5 (Zephyr,
SimPO's own), preference losses at 5e-7 (SPIN) to 1e-6 (SimPO). What lies between is interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from selfboost.train.packs.batches import steps_of

STEPS = 20
"""Optimiser steps that a training should have: measured, they bring most of the gain; 5 bring half of it."""
BATCHES = (8, 16, 32, 64, 128)
MOST_EPOCHS = 10
"""Beyond these a small seed is learned by heart."""
ADAPTER = 10.0
"""An adapter's rate over that of all weights: common practice, not measured."""
LOWEST, HIGHEST = 1 / 30, 10.0
"""Rates outside these multiples of the fitting one are far off: a hundredth moved nothing, and
above ten times most trainings of `benchmarks.rates` ruined their model."""
FEWEST = 5
"""Steps below which a training hardly learns."""


def finetuning_rate(parameters: int) -> float:
    """Peak learning rate of supervised fine-tuning."""
    return _rounded(min(max(1e-3 * (parameters / 1e6) ** -0.50, 5e-6), 2e-3))


def preference_rate(parameters: int) -> float:
    """Peak learning rate of a preference loss."""
    return _rounded(min(max(1e-4 * (parameters / 1e6) ** -0.56, 3e-7), 1e-4))


def training(rate: float, examples: int) -> Mapping[str, Any]:
    """Settings of a training on so many examples: at least about 20 steps, at most 10 passes."""
    batch = max((batch for batch in BATCHES if STEPS * batch <= examples), default=BATCHES[0])
    epochs = min(max(math.ceil(STEPS * batch / max(1, examples)), 1), MOST_EPOCHS)
    return {"learning_rate": rate, "batch_size": batch, "epochs": epochs}


def steps(rows: int, batch_size: int, passes: float) -> int:
    """Optimiser steps of a training, as the trainer counts them; none where there is nothing to train on."""
    return steps_of(rows, batch_size, passes) if rows else 0


def _rounded(value: float) -> float:
    return float(f"{value:.1e}")
