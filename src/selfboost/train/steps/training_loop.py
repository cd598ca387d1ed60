"""The optimisation loop: steps of micro-batches, logged, checked for numbers that are not finite, resumable.

A killed training resumes from its last state and, on a CPU, ends with the same bits as an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfboost.engines import Progress
from selfboost.trackers import Tracker
from selfboost.train import Training, TrainingResult
from selfboost.train.devices.launched import Preempted
from selfboost.train.devices.parallel import ALONE, World
from selfboost.train.devices.preemption import asked_to_stop
from selfboost.train.packs.batches import micro_batches, step_batches
from selfboost.train.packs.rows import Item
from selfboost.train.steps.averaging import Average
from selfboost.train.steps.checkpoints import Saved, StateFolder, random_state, restore_random_state
from selfboost.train.steps.collapse import Watch
from selfboost.train.steps.objectives import Objective
from selfboost.train.steps.optimizers import Optimizer, learning_rate
from selfboost.train.steps.telemetry import StepMeter


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a training is split and reported; changes no result beyond rounding."""

    tokens: int
    """Largest micro-batch, in tokens."""
    checkpoint_seconds: float
    """Seconds between saved states; 0 = off."""
    checkpoint_steps: int
    """Steps between saved states; 0 = off."""
    log_every: int
    """Steps between rows of the history."""


@dataclass(frozen=True, kw_only=True)
class TrainingProcesses:
    """The processes that take part."""

    world: World = ALONE
    sharded: bool = False
    """Whether the backward pass itself averages gradients over the processes; else they are summed after it."""
    computed_in: torch.dtype | None = None
    """Number type of matrix products, if it differs from the weights'."""


class Companion(Protocol):
    """Parameters trained beside the model's, with their own optimiser."""

    training: Training

    def parameters(self) -> Iterable[Tensor]: ...

    def begin(self, step: int) -> tuple[bool, bool]:
        """Begin a step (counted from 0); returns whether the model and the companion are trained in it."""
        ...


class TrainingLoop:
    """One training, or this process's part of it: each process computes its packs of a step, all update together."""

    def __init__(
        self,
        model: PreTrainedModel,
        objective: Objective,
        items: Sequence[Item],
        training: Training,
        pace: Pace,
        states: StateFolder,
        seed: int,
        processes: TrainingProcesses = TrainingProcesses(),
        companion: Companion | None = None,
    ) -> None:
        self.objective, self.items, self.training, self.pace, self.states = objective, items, training, pace, states
        self.processes = processes
        self.optimizer = Optimizer(model.parameters(), training)
        self.companion = companion
        self.companion_optimizer = Optimizer(companion.parameters(), companion.training) if companion else None
        self.watch = Watch(training)
        self.average = Average(self.optimizer.masters, training.ema_decay)
        self.meter = StepMeter(model, processes.world.size, processes.computed_in)
        self.batches = step_batches(len(items), training.batch_size, training.epochs, seed)
        self.last = math.ceil(len(self.batches) * (training.stop_after or training.epochs) / training.epochs)
        self.done, self.tokens = 0, 0
        self.history: list[dict[str, float]] = []

    def resume(self, saved: Saved | None) -> None:
        """Restore the state of a killed training."""
        if saved is None:
            return
        state = saved.common
        self.optimizer.restore(saved.own["optimizer"])
        self.average.restore(saved.own["average"])
        self.watch.restore(state["watch"])
        if self.companion_optimizer is not None:
            self.companion_optimizer.restore(state["companion"])
        self.done, self.tokens, self.history = state["done"], state["tokens"], state["history"]
        restore_random_state(state["random"])

    def run(self, progress: Progress, trackers: Sequence[Tracker], extra_state: Mapping[str, Any]) -> TrainingResult:
        """Run all remaining steps; afterwards the model is trained. `extra_state` is saved with the state.

        Raises:
            FloatingPointError: a loss or gradient is not finite; names the step, the rows and where the state is.
            Preempted: a process was asked to end; the state is saved.
        """
        saved = time.monotonic()
        with asked_to_stop(saves=self._keeps_states()) as asked:
            while self.done < self.last:
                row = self._step()
                self.watch.see(row, self.last, self._kept)
                if self._logged():
                    self.history.append(row)
                    for tracker in trackers:
                        tracker.log(row)
                wishes = self.processes.world.gather((self._state_is_due(time.monotonic() - saved), asked()))
                stop = any(wish for _, wish in wishes) and self.done < self.last
                if wishes[0][0] or (stop and self._keeps_states()):
                    self._save(extra_state)
                    saved = time.monotonic()
                progress(self.done, self.last, self.tokens)
                if stop:
                    kept = "its state is saved" if self._keeps_states() else "it saves no states"
                    raise Preempted(f"after step {self.done} of {self.last} of a training; {kept}")
        self.average.take_place()
        self.optimizer.copy_back()
        cut = sum(item.cuts for item in self.items)
        return TrainingResult(
            steps=self.last, tokens=self.tokens, truncated=cut, history=self.history, warnings=self.watch.warnings
        )

    def _logged(self) -> bool:
        return self.done % self.pace.log_every == 0 or self.done == self.last

    def _save(self, extra_state: Mapping[str, Any]) -> None:
        own = {"optimizer": self.optimizer.state(), "average": self.average.state()}
        common, processes = self._state() | dict(extra_state), self.processes
        self.states.write(self.done, common, own, processes.world, in_parts=processes.sharded)

    def _keeps_states(self) -> bool:
        return bool(self.pace.checkpoint_seconds or self.pace.checkpoint_steps)

    def _state_is_due(self, seconds: float) -> bool:
        by_time = bool(self.pace.checkpoint_seconds) and seconds >= self.pace.checkpoint_seconds
        return by_time or (bool(self.pace.checkpoint_steps) and self.done % self.pace.checkpoint_steps == 0)

    def _state(self) -> dict[str, Any]:
        """What the rest of the training depends on beside weights; the order of the data is known from the seed."""
        return {
            "watch": self.watch.state(),
            "companion": self.companion_optimizer.state() if self.companion_optimizer else None,
            "random": random_state(),
            "done": self.done,
            "tokens": self.tokens,
            "history": self.history,
        }

    def _step(self) -> dict[str, float]:
        """One step; returns its row of the history."""
        start = time.monotonic()
        batch = [self.items[at] for at in self.batches[self.done]]
        policy_turn, companion_turn = self.companion.begin(self.done) if self.companion else (True, False)
        row = self._gradients(batch)
        rate = learning_rate(self.done, len(self.batches), self.training)
        row |= {"learning_rate": rate, "gradient_norm": 0.0}
        if policy_turn:
            row["gradient_norm"] = self._update(self.optimizer, rate, batch, summed=self.processes.sharded)
            self.average.update()
        if companion_turn and self.companion and self.companion_optimizer:
            rate = learning_rate(self.done, len(self.batches), self.companion.training)
            row["noise_gradient_norm"] = self._update(self.companion_optimizer, rate, batch)
        self.done += 1
        self.tokens += sum(item.tokens for item in batch)
        return {"step": self.done} | row | self.meter.row(batch, time.monotonic() - start)

    def _update(self, optimizer: Optimizer, rate: float, batch: Sequence[Item], *, summed: bool = False) -> float:
        """One optimiser step, from this process's share of the gradient or all of it; returns the gradient's norm."""
        if not summed:
            world = self.processes.world
            world.sum_tensors(optimizer.gradients(complete=world.size > 1))
        norm = optimizer.clip()
        if not math.isfinite(norm):
            self._stop("gradient", [item.id for item in batch])
        optimizer.step(rate)
        return norm

    def _gradients(self, batch: Sequence[Item]) -> dict[str, float]:
        """Accumulate the gradient of the batch's loss; returns the loss and the means of what else is measured."""
        world = self.processes.world
        weight = sum(self.objective.weight(item) for item in batch)
        share = (world.size if self.processes.sharded else 1) / weight
        sums: dict[str, float] = defaultdict(float)
        wrong: list[str] = []
        for group, counts in world.share(micro_batches(batch, self.pace.tokens, at_least=world.size)):
            total, losses_B, measures = self.objective.losses(group)
            (total * (share if counts else 0.0)).backward()
            if not counts:
                continue
            finite = cast("list[bool]", losses_B.isfinite().tolist())
            wrong += [item.id for item, fine in zip(group, finite, strict=True) if not fine]
            sums["loss"] += float(losses_B.sum()) / weight
            for name, values_B in measures.items():
                sums[name] += float(values_B.sum()) / len(batch)
        found = world.gather((dict(sums), wrong))
        if any(theirs for _, theirs in found):
            self._stop("loss", [name for _, theirs in found for name in theirs])
        return {name: sum(part.get(name, 0.0) for part, _ in found) for name in found[0][0]}

    def _stop(self, what: str, rows: Sequence[str]) -> None:
        rows = list(dict.fromkeys(rows))  # a batch across two epochs may hold a row twice
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        raise FloatingPointError(
            f"step {self.done + 1} of {self.last}: the {what} is not finite for {', '.join(rows[:5])}{more}; "
            f"{self._kept()}. A smaller learning rate, or float32, may help"
        )

    def _kept(self) -> str:
        states = self.states.paths()
        return f"the last state before it is kept in {states[-1]}" if states else "nothing was written"
