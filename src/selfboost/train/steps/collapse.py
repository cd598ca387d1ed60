"""Detects when a preference training unlearns the chosen answers: both log-probabilities fall while the margin grows.

DNPO's published setting did so (chosen −600 → −1140 nats an answer), and nothing in its loss showed it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from selfboost.train import Training

STEPS = 8
"""Steps averaged before comparing; of a training of fewer than twice as many, half of them."""
FEWEST = 2
"""Fewest batches that are averaged where each step's are others: one says little."""
ALIKE = 0.01
"""Largest difference, in nats per token, of the first batch from its reference if both are the same model."""


class Watch:
    """Follows the chosen answers' mean log-probability per token, relative to its start."""

    def __init__(self, training: Training) -> None:
        self.what, self.bound = training.collapse, training.collapse_bound
        self.first: list[float] = []
        self.recent: list[float] = []
        self.warnings: list[str] = []

    def see(self, row: Mapping[str, float], steps: int, kept: Callable[[], str]) -> None:
        """Check one of `steps` steps; `kept` says what remains of the training if it is stopped.

        Raises:
            ValueError: the log-probability has fallen too far, and the setting is to stop.
        """
        value = row.get("chosen_shift", row.get("chosen_logp"))
        if value is None or self.what == "ignore":
            return
        # Where the policy begins as its reference, each batch is compared with itself; else batches are averaged.
        alike = "chosen_shift" in row and bool(self.first) and abs(self.first[0]) < ALIKE
        averaged = min(STEPS, steps // 2)
        if len(self.first) < (1 if alike else averaged):
            self.first.append(value)
        self.recent = [*self.recent, value][-max(averaged, 1) :]
        if averaged < (1 if alike else FEWEST):
            return
        fallen = sum(self.first) / len(self.first) - sum(self.recent) / len(self.recent)
        if fallen <= self.bound or self.warnings:
            return
        sentence = (
            f"at step {row['step']:.0f} of {steps} the chosen answers have lost {fallen:.2g} nats per token "
            f"(training.collapse_bound = {self.bound:g}): the policy unlearns them"
        )
        if self.what == "stop":
            raise ValueError(
                f"{sentence}; {kept()}. A smaller learning rate or noise.scale may help; collapse = 'warn' continues"
            )
        self.warnings.append(sentence)

    def state(self) -> dict[str, Any]:
        """The state that a resumed training needs."""
        return {"first": self.first, "recent": self.recent, "warnings": self.warnings}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self.first, self.recent, self.warnings = state["first"], state["recent"], state["warnings"]
