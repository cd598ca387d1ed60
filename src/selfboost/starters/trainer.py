"""Starter: another trainer, whose learning rate is lower where there are few pairs.

A trainer has the two training verbs, and gives log-probabilities exactly as its training sees them. This one is built
around another trainer. docs/guides/trainer.md says more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from pathlib import Path

from selfboost import Example, Loss, Model, Pair, Sequenced, Trainer, Training, TrainingResult
from selfboost.engines import Progress
from selfboost.setting_types import Count
from selfboost.train.local import Local


@dataclass(frozen=True, kw_only=True)
class Starter:
    """Scales the learning rate with the square root of the number of pairs."""

    inner: Trainer = field(default_factory=Local)
    """The trainer that trains."""
    pairs: Count = 1000
    """Pairs from which the recipe's learning rate holds; fewer get a lower one."""

    def finetune(
        self,
        start: Model,
        examples: Sequence[Example],
        training: Training,
        *,
        into: Path,
        seed: int,
        progress: Progress,
    ) -> TrainingResult:
        """Supervised fine-tuning, as the trainer inside does it."""
        return self.inner.finetune(start, examples, training, into=into, seed=seed, progress=progress)

    def prefer(
        self,
        start: Model,
        reference: Model | None,
        pairs: Sequence[Pair],
        loss: Loss,
        training: Training,
        *,
        into: Path,
        seed: int,
        progress: Progress,
        cache: Path | None = None,
    ) -> TrainingResult:
        """Preference optimisation, with the scaled learning rate."""
        scaled = replace(training, learning_rate=training.learning_rate * min(1.0, sqrt(len(pairs) / self.pairs)))
        return self.inner.prefer(
            start, reference, pairs, loss, scaled, into=into, seed=seed, progress=progress, cache=cache
        )

    def logps(self, model: Model, sequences: Sequence[Sequenced]) -> Iterator[tuple[float, ...]]:
        """Natural log-probability of every completion token, in order."""
        return self.inner.logps(model, sequences)

    def rewards(self, model: Model, sequences: Sequence[Sequenced]) -> Iterator[float]:
        """Scalar of a reward model after prompt and completion, in order."""
        return self.inner.rewards(model, sequences)
