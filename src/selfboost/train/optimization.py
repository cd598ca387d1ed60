"""The optimisation loop: steps of micro-batches, logged, checked for numbers that are not finite, resumable.

A killed training goes on from its last state and ends, on a CPU, with the same bits as one that was never killed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from selfboost.engines import Progress
from selfboost.train import Training, TrainingResult
from selfboost.train.batches import micro_batches, step_batches
from selfboost.train.checkpoints import StateFolder
from selfboost.train.objectives import Objective
from selfboost.train.optimizers import Optimizer, learning_rate
from selfboost.train.rows import Item


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a training is cut up and reported; changes no result beyond rounding."""

    tokens: int
    """Most tokens of a micro-batch."""
    checkpoint_seconds: float
    """Time between two states; 0 = none."""
    log_every: int
    """Steps between two rows of the history."""


class Loop:
    """One training."""

    def __init__(
        self,
        model: torch.nn.Module,
        objective: Objective,
        items: Sequence[Item],
        training: Training,
        pace: Pace,
        states: StateFolder,
        seed: int,
    ) -> None:
        self.objective, self.items, self.training, self.pace, self.states = objective, items, training, pace, states
        self.optimizer = Optimizer(model.parameters(), training)
        self.batches = step_batches(len(items), training.batch_size, training.epochs, seed)
        self.done, self.tokens = 0, 0
        self.history: list[dict[str, float]] = []

    def resume(self, state: Mapping[str, Any] | None) -> None:
        """Take up the state of a training that was killed."""
        if state is None:
            return
        self.optimizer.restore(state["optimizer"])
        self.done, self.tokens, self.history = state["done"], state["tokens"], state["history"]

    def run(self, progress: Progress, extra_state: Mapping[str, Any]) -> TrainingResult:
        """All steps that are left; `extra_state` is kept with the state.

        Raises:
            FloatingPointError: a loss or gradient is not finite; names the step and the rows.
        """
        saved = time.monotonic()
        while self.done < len(self.batches):
            self._step()
            if self.pace.checkpoint_seconds and time.monotonic() - saved >= self.pace.checkpoint_seconds:
                self.states.write(self._state() | dict(extra_state))
                saved = time.monotonic()
            progress(self.done, len(self.batches), self.tokens)
        cut = sum(item.cuts for item in self.items)
        return TrainingResult(steps=len(self.batches), tokens=self.tokens, truncated=cut, history=self.history)

    def _state(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state(),
            "done": self.done,
            "tokens": self.tokens,
            "history": self.history,
        }

    def _step(self) -> None:
        start = time.monotonic()
        batch = [self.items[at] for at in self.batches[self.done]]
        row = self._gradients(batch)
        norm = self.optimizer.clip()
        if not math.isfinite(norm):
            self._stop("gradient", [item.id for item in batch])
        rate = learning_rate(self.done, len(self.batches), self.training)
        self.optimizer.step(rate)
        self.done += 1
        tokens = sum(item.tokens for item in batch)
        self.tokens += tokens
        if self.done % self.pace.log_every == 0 or self.done == len(self.batches):
            speed = tokens / max(time.monotonic() - start, 1e-9)
            row |= {"learning_rate": rate, "gradient_norm": norm, "tokens_per_second": round(speed, 1)}
            self.history.append({"step": self.done} | row)

    def _gradients(self, batch: Sequence[Item]) -> dict[str, float]:
        """Accumulate the gradient of the batch's loss; returns the loss and the means of what else is measured."""
        weight = sum(self.objective.weight(item) for item in batch)
        sums: dict[str, float] = {"loss": 0.0}
        for group in micro_batches(batch, self.pace.tokens):
            total, losses_B, measures = self.objective.losses(group)
            finite = cast("list[bool]", losses_B.isfinite().tolist())
            wrong = [item.id for item, fine in zip(group, finite, strict=True) if not fine]
            if wrong:
                self._stop("loss", wrong)
            (total / weight).backward()
            self.optimizer.collect()
            sums["loss"] += float(losses_B.sum()) / weight
            for name, values_B in measures.items():
                sums[name] = sums.get(name, 0.0) + float(values_B.sum()) / len(batch)
        return sums

    def _stop(self, what: str, rows: Sequence[str]) -> None:
        self.states.remove()  # going on from it would end here again
        rows = list(dict.fromkeys(rows))  # a batch across two epochs may hold a row twice
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        raise FloatingPointError(
            f"step {self.done + 1} of {len(self.batches)}: the {what} is not finite for {', '.join(rows[:5])}{more}; "
            "nothing was written. A smaller learning rate, or float32, may help"
        )
