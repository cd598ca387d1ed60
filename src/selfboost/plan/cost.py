"""What a planned run costs, roughly: tokens, floating-point operations, GPU hours.

2 operations per parameter and token of a forward pass, 4 more of a backward pass (2 if the weights are frozen, as
under LoRA), 2 more if activations are recomputed: arXiv 2001.08361, section 2.1. Attention's own
products and the traffic between devices are left out. How fast a device is: `hardware.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from selfboost.engines import Batching
from selfboost.engines import footprint_of as sampler_footprint
from selfboost.losses.noise_settings import Noise
from selfboost.pace import MeasuredPace
from selfboost.plan.hardware import Hardware
from selfboost.plan.memory import noise_of, token_bytes
from selfboost.plan.model_size import ModelSize, model_size
from selfboost.plan.rehearsal import Rehearsed
from selfboost.plan.rows import Rows
from selfboost.plan.texts import Tokens
from selfboost.recipe import Recipe
from selfboost.results.kinds import WORK
from selfboost.scorers import ScoringWork, work_of
from selfboost.train import Footprint, Training
from selfboost.train import footprint_of as trainer_footprint
from selfboost.train.packs.batches import WINDOW

Lengths = Literal["mean", "most"]
"""Sampled answers as long as their model learned (at first as the seed's), or all of maximum length."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of one stage."""

    tokens: int
    """Sampling: tokens of the new answers; otherwise of everything read, over all epochs, with a judge's replies."""
    hours: float | None
    """Hours of work on one GPU; None if a model's size is unknown."""


@dataclass(frozen=True, kw_only=True)
class Writing:
    """New tokens that a model samples, and how."""

    rows: int
    """Rows in all."""
    read: float
    """Tokens of a row's prompt."""
    written: float
    """New tokens of a row."""
    at_once: int
    """Rows decoded at a time."""
    weight_bytes: int
    batching: Batching


def judge_sizes(stages: Sequence[Rows]) -> dict[str, ModelSize | None]:
    """Folder or hub name of a scorer's model → its size; None where it is unknown."""
    return {name: model_size(name) for found in stages for name in found.stage.judges if name}


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Computes the costs of a recipe's stages."""

    recipe: Recipe
    stages: Sequence[Rows]
    model: ModelSize | None
    """The initial model's size; models trained from it have the same."""
    judges: Mapping[str, ModelSize | None]
    """Folder or hub name of a scorer's model → its size."""
    hardware: Hardware
    """What the hours are of."""
    pace: MeasuredPace | None = None
    """What was measured on it; None: the hours follow from its data sheet."""

    @property
    def trainer(self) -> Footprint:
        """How the recipe's trainer holds a model."""
        return trainer_footprint(self.recipe.trainer)

    def of(self, found: Rows, at: Lengths) -> Cost:
        """The cost of a stage."""
        costs: Mapping[str, Callable[[Rows, Lengths], Cost]]
        costs = {"sampling": self._sampling, "scoring": self._scoring, "training": self._training}
        work = WORK.get(found.stage.verb)
        if work is None:
            return Cost(tokens=0, hours=0.0)
        cost = costs[work](found, at)
        return cost if self.pace is None else replace(cost, hours=self._measured(self.pace, found, at, cost))

    def requests(self) -> int:
        """Requests of all scorers to servers."""
        asking = [found for found in self.stages if found.stage.scorer is not None]
        return round(sum(found.rows * self.work(found.stage, "mean").requests for found in asking))

    def unknown_scorers(self) -> bool:
        """Whether the size of a scorer's model is unknown, though the initial model's is not."""
        return self.model is not None and None in self.judges.values()

    def work(self, stage: Rehearsed, at: Lengths) -> ScoringWork:
        """What the scorer of a scoring stage declares to read and write for one score."""
        assert stage.scorer is not None, "a scoring stage has a scorer"
        return work_of(stage.scorer, at_length(stage.asked, at), at_length(stage.answers[0], at))

    def sizes(self, stage: Rehearsed) -> list[ModelSize] | None:
        """Sizes of the models of a stage's scorer; None if one is unknown."""
        found = [self.judges[name] if name else self.model for name in stage.judges]  # "": one of the run's own
        known = [size for size in found if size]
        return known if len(known) == len(found) else None

    def _sampling(self, found: Rows, at: Lengths) -> Cost:
        held = sampler_footprint(self.recipe.engine)
        asked, new = at_length(found.stage.asked, at), at_length(found.stage.answers[0], at)
        writing = Writing(
            rows=found.rows,
            read=asked,
            written=new,
            at_once=held.rows,
            weight_bytes=held.weight_bytes,
            batching=held.batching,
        )
        hours = 0.0 if held.batching == "none" else self._written(writing, [self.model] if self.model else None)
        return Cost(tokens=round(found.rows * new), hours=hours)

    def _scoring(self, found: Rows, at: Lengths) -> Cost:
        work, sizes = self.work(found.stage, at), self.sizes(found.stage)
        width = self.trainer.weight_bytes if work.weight_bytes is None else work.weight_bytes
        writing = Writing(
            rows=found.rows,
            read=work.read,
            written=work.written,
            at_once=max(1, work.rows),
            weight_bytes=width,
            batching=work.batching,
        )
        return Cost(tokens=round(found.rows * (work.read + work.written)), hours=self._written(writing, sizes))

    def _measured(self, pace: MeasuredPace, found: Rows, at: Lengths, cost: Cost) -> float | None:
        """Hours of a stage at a measured pace; of other models in proportion to their size."""
        stage = found.stage
        if stage.sampling is not None:
            work = pace.sampling.each * cost.tokens + pace.reading.each * found.rows * at_length(stage.asked, at)
            share = _share(found.rows, self.recipe.engine.block_size, pace.processes)
            return (pace.sampling.fixed + work * share) / 3600
        if stage.training is not None:
            return self._measured_training(pace, found, at, cost)
        assert stage.scorer is not None, "a scoring stage has a scorer"
        if (rate := pace.scores(stage.scorer)) is not None:
            return rate.seconds(cost.tokens) / 3600
        work, sizes = self.work(stage, at), self.sizes(stage)
        if sizes is None or self.model is None:
            return None
        share = _share(found.rows, WINDOW, pace.processes)
        each = found.rows * (pace.reading.each * work.read + pace.sampling.each * work.written) * share
        return sum(pace.reading.fixed + each * size.parameters / self.model.parameters for size in sizes) / 3600

    def _measured_training(self, pace: MeasuredPace, found: Rows, at: Lengths, cost: Cost) -> float | None:
        """Hours of a training: the measured one's operations took its time, and a reference is read once."""
        stage, usual = found.stage, self._per_weight(self.recipe.training)
        assert stage.training is not None, "a training stage has its settings"
        assert self.model is not None, "a measured model has a size"
        seconds = pace.training.seconds(cost.tokens * self._per_weight(stage.training) / usual)
        if stage.loss is not None and stage.loss.needs_reference:
            seconds += pace.reading.seconds(found.rows * trained_tokens(stage, at))
        noise, weights = noise_of(stage), self.model.vocabulary * self.model.width
        if noise is not None:
            tokens = found.rows * rejected_tokens(stage, at) * _passes(stage.training)
            seconds += pace.training.each * tokens * noise_operations(noise) * weights / (usual * self.model.parameters)
        return seconds / 3600

    def _written(self, work: Writing, sizes: Sequence[ModelSize] | None) -> float | None:
        """Hours in which each model reads and writes all rows."""
        if sizes is None:
            return None
        return sum(self._read(work, size) + self._decoded(work, size) for size in sizes)

    def _read(self, work: Writing, size: ModelSize) -> float:
        """Continuous batching's published rate includes reading as much as is written."""
        read = max(0.0, work.read - work.written) if work.batching == "continuous" and work.written else work.read
        return self.hardware.seconds(2 * size.parameters * work.rows * read) / 3600

    def _decoded(self, work: Writing, size: ModelSize) -> float:
        if not work.written or not work.rows:
            return 0.0
        weights = size.parameters * work.weight_bytes
        if work.batching == "continuous":
            return work.rows * work.written / self.hardware.continuous_rate(weights) / 3600
        rows = min(work.at_once, work.rows)
        held = rows * (work.read + work.written / 2) * token_bytes(size, work.weight_bytes)
        step = self.hardware.step_seconds(size.layers, 2 * size.parameters * rows, weights + held)
        return work.rows / rows * work.written * step / 3600

    def _training(self, found: Rows, at: Lengths) -> Cost:
        stage, size = found.stage, self.model.parameters if self.model else None
        assert stage.training is not None, "a training stage has its settings"
        once = found.rows * trained_tokens(stage, at)
        tokens = once * _passes(stage.training)
        hours = self._hours(self._per_weight(stage.training) * tokens, size)
        compared = stage.loss is not None and stage.loss.needs_reference
        reference = self._hours(2 * once, size) if compared else 0.0
        return Cost(tokens=round(tokens), hours=_sum(hours, reference, self._noise_hours(found, at)))

    def _noise_hours(self, found: Rows, at: Lengths) -> float | None:
        """Operations of the noise's own matrix products, and of computing the reference's states once."""
        stage, noise = found.stage, noise_of(found.stage)
        if noise is None or self.model is None or stage.training is None:
            return 0.0
        rejected, asked = rejected_tokens(stage, at), _asked(stage, stage.training, at)
        tokens, weights = found.rows * rejected * _passes(stage.training), self.model.vocabulary * self.model.width
        own = self._hours(noise_operations(noise) * tokens, weights)
        return _sum(own, self._hours(2 * found.rows * (asked + rejected), self.model.parameters))

    def _hours(self, operations_per_weight: float, parameters: int | None) -> float | None:
        return None if parameters is None else self.hardware.seconds(operations_per_weight * parameters) / 3600

    def _per_weight(self, training: Training) -> int:
        """Operations per parameter and trained token."""
        return (4 if training.lora_rank else 6) + (2 if self.trainer.recomputes else 0)


def noise_operations(noise: Noise) -> int:
    """Per rejected token and element of a (vocabulary × hidden) matrix, as `train/noise/module.py` does it.

    Logits and g forward; if g is trained, the gradients of its matrix and, unless g is affine, of its input. Turns of
    the policy alone, which do not need the latter, count like the others; what very long answers recompute does not.
    """
    backward = 2 if noise.module == "affine" else 4
    return 4 + (backward if noise.trained else 0)


def at_length(tokens: Tokens, at: Lengths) -> float:
    """Mean tokens of a text in one of the two cases."""
    return tokens.mean if at == "mean" else tokens.most


def _asked(stage: Rehearsed, training: Training, at: Lengths) -> float:
    """Tokens of a row's prompt as trained."""
    asked = at_length(stage.asked, at)
    return min(asked, training.max_prompt_length or asked)


def trained_tokens(stage: Rehearsed, at: Lengths) -> float:
    """Tokens of a row of a training stage, its prompt counted once, cut as in training."""
    training = stage.training
    assert training is not None, "a training stage has its settings"
    asked, limit = _asked(stage, training, at), training.max_length * len(stage.answers)
    new = sum(at_length(side, at) for side in stage.answers)
    return asked + (min(new, limit - asked) if limit > asked else 0.0)


def rejected_tokens(stage: Rehearsed, at: Lengths) -> float:
    """Tokens of a pair's rejected answer: the longer one's, since either may be rejected."""
    assert stage.training is not None, "pairs are trained on"
    return min(max(at_length(side, at) for side in stage.answers), stage.training.max_length)


def _share(rows: float, block: int, processes: int) -> float:
    """Share of a stage's work that the process with most blocks of it has, if all are equally fast."""
    blocks = max(1, math.ceil(rows / block))
    return math.ceil(blocks / processes) / blocks


def _passes(training: Training) -> float:
    """Sums over a training's rows."""
    return float(training.stop_after or training.epochs)


def _sum(*hours: float | None) -> float | None:
    known = [hour for hour in hours if hour is not None]
    return sum(known) if len(known) == len(hours) else None
