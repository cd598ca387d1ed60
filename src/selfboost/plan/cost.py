"""What a planned run costs, roughly: tokens, floating-point operations, GPU hours, memory.

2 operations per parameter and token of a forward pass, 4 more of a backward pass (2 if the weights are frozen, as
under LoRA), 2 more if activations are recomputed: arXiv 2001.08361, section 2.1. Attention's own
products, loading, the disk and several devices are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from selfboost.engines import footprint_of as sampler_footprint
from selfboost.losses.noise_settings import Noise
from selfboost.plan.memory import cache_bytes, noise_bytes, noise_of, training_bytes
from selfboost.plan.model_size import ModelSize
from selfboost.plan.rehearsal import Rehearsed
from selfboost.plan.rows import Rows
from selfboost.plan.texts import Tokens
from selfboost.recipe import Recipe
from selfboost.scorers import ScoringWork, work_of
from selfboost.train import Footprint, Training
from selfboost.train import footprint_of as trainer_footprint

GPU = "A100"
PEAK = 312e12
"""The GPU's operations per second in bfloat16, from its data sheet."""
SHARES: Mapping[str, float] = {"training": 0.4, "scoring": 0.3, "sampling": 0.1}
"""Assumed share of the peak that each kind of work reaches."""
WORK: Mapping[str, str] = {"sample": "sampling", "score": "scoring", "finetune": "training", "prefer": "training"}
"""Verb → kind of work; other verbs cost next to nothing."""
Lengths = Literal["mean", "most"]
"""Sampled answers as long as their model learned (at first as the seed's), or all of maximum length."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of one stage."""

    tokens: int
    """Sampling: tokens of the new answers; otherwise of everything read, over all epochs, with a judge's replies."""
    hours: float | None
    """Hours on one GPU; None if a model's size is unknown."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Computes the costs of a recipe's stages."""

    recipe: Recipe
    stages: Sequence[Rows]
    model: ModelSize | None
    """The initial model's size; models trained from it have the same."""
    judges: Mapping[str, ModelSize | None]
    """Folder or hub name of a scorer's model → its size."""

    @property
    def trainer(self) -> Footprint:
        """How the recipe's trainer holds a model."""
        return trainer_footprint(self.recipe.trainer)

    def of(self, found: Rows, at: Lengths) -> Cost:
        """The cost of a stage."""
        costs: Mapping[str, Callable[[Rows, Lengths], Cost]]
        costs = {"sampling": self._sampling, "scoring": self._scoring, "training": self._training}
        work = WORK.get(found.stage.verb)
        return costs[work](found, at) if work else Cost(tokens=0, hours=0.0)

    def requests(self) -> int:
        """Requests of all scorers to servers."""
        asking = [found for found in self.stages if found.stage.scorer is not None]
        return round(sum(found.rows * self._work(found.stage, "mean").requests for found in asking))

    def unknown_scorers(self) -> bool:
        """Whether the size of a scorer's model is unknown, though the initial model's is not."""
        return self.model is not None and None in self.judges.values()

    def training_memory(self) -> int | None:
        """Bytes that the largest training holds on one device; None if the model's size is unknown."""
        trainings = [found.stage for found in self.stages if found.stage.training]
        if self.model is None or not trainings:
            return None
        held = self.trainer
        return max(training_bytes(self.model, s, held) + noise_bytes(self.model, s, held) for s in trainings)

    def noise_memory(self) -> int | None:
        """Bytes that noise adds to a training on each device, 0 without noise; None if V and D are unknown."""
        if self.model is None:
            return None
        return max((noise_bytes(self.model, found.stage, self.trainer) for found in self.stages), default=0)

    def sampling_memory(self) -> int | None:
        """Bytes of weights and key-value cache, with every row of a batch at maximum length."""
        sampled = [found.stage for found in self.stages if found.stage.sampling]
        if self.model is None or not sampled:
            return None
        longest = max(stage.asked.most + stage.answers[0].most for stage in sampled)
        held = sampler_footprint(self.recipe.engine)
        cache = cache_bytes(self.model, held.weight_bytes, held.rows, longest)
        return round(self.model.parameters * held.weight_bytes + cache)

    def disk(self) -> int | None:
        """Bytes of all trained models."""
        trained = sum(found.stage.training is not None for found in self.stages)
        return self.model.parameters * self.trainer.weight_bytes * trained if self.model else None

    def disk_while_training(self) -> int | None:
        """Bytes of the hidden states that a training with noise keeps of all rejected answers, 0 without noise."""
        most = max((s.rows * _rejected(s.stage, "most") for s in self.stages if noise_of(s.stage)), default=0)
        return round(most * self.model.width * self.trainer.weight_bytes) if self.model else None

    def scoring_memory(self) -> int | None:
        """Bytes of the largest scorer's models, and of the cache of one that samples; None as above."""
        held = [self._scorer_bytes(found.stage) for found in self.stages if found.stage.verb == "score"]
        known = [size for size in held if size is not None]
        return max(known, default=0) if len(known) == len(held) else None

    def _sampling(self, found: Rows, at: Lengths) -> Cost:
        size, asked, new = self._own_parameters(), _at(found.stage.asked, at), _at(found.stage.answers[0], at)
        read, written = found.rows * asked, found.rows * new
        hours = _sum(_hours(2 * read, size, "scoring"), _hours(2 * written, size, "sampling"))
        return Cost(tokens=round(written), hours=hours)

    def _training(self, found: Rows, at: Lengths) -> Cost:
        stage, size = found.stage, self._own_parameters()
        assert stage.training is not None, "a training stage has its settings"
        once = found.rows * _trained_tokens(stage, stage.training, at)
        tokens = once * _passes(stage.training)
        hours = _hours(self._per_weight(stage.training) * tokens, size, "training")
        compared = stage.loss is not None and stage.loss.needs_reference
        reference = _hours(2 * once, size, "scoring") if compared else 0.0
        return Cost(tokens=round(tokens), hours=_sum(hours, reference, self._noise_hours(found, at)))

    def _noise_hours(self, found: Rows, at: Lengths) -> float | None:
        """Operations of the noise's own matrix products, and of computing the reference's states once."""
        stage, noise = found.stage, noise_of(found.stage)
        if noise is None or self.model is None or stage.training is None:
            return 0.0
        rejected, asked = _rejected(stage, at), _asked(stage, stage.training, at)
        tokens, weights = found.rows * rejected * _passes(stage.training), self.model.vocabulary * self.model.width
        own = _hours(noise_operations(noise) * tokens, weights, "training")
        return _sum(own, _hours(2 * found.rows * (asked + rejected), self.model.parameters, "scoring"))

    def _scoring(self, found: Rows, at: Lengths) -> Cost:
        """The cost of scores, from what the scorer declares to read and write."""
        work, size = self._work(found.stage, at), self._parameters(found.stage)
        read, written = found.rows * work.read, found.rows * work.written
        hours = _sum(_hours(2 * read, size, "scoring"), _hours(2 * written, size, "sampling"))
        return Cost(tokens=round(read + written), hours=hours)

    def _work(self, stage: Rehearsed, at: Lengths) -> ScoringWork:
        assert stage.scorer is not None, "a scoring stage has a scorer"
        return work_of(stage.scorer, _at(stage.asked, at), _at(stage.answers[0], at))

    def _scorer_bytes(self, stage: Rehearsed) -> int | None:
        """Bytes of a scorer's weights and of its cache, with every row at maximum length."""
        work, size = self._work(stage, "most"), self._parameters(stage)
        if size is None:
            return None
        width = self.trainer.weight_bytes if work.weight_bytes is None else work.weight_bytes
        caches = [cache_bytes(self._size(name), width, work.rows, work.longest) for name in stage.judges]
        return round(size * width + sum(caches))

    def _size(self, name: str) -> ModelSize | None:
        """Size of a scorer's model; without a name, it is one of the run's own."""
        return self.judges[name] if name else self.model

    def _parameters(self, stage: Rehearsed) -> int | None:
        """Size of all models of a stage's scorer together; None if one is unknown."""
        sizes = [self._size(name) for name in stage.judges]
        known = [size.parameters for size in sizes if size]
        return sum(known) if len(known) == len(sizes) else None

    def _own_parameters(self) -> int | None:
        return self.model.parameters if self.model else None

    def _per_weight(self, training: Training) -> int:
        """Operations per parameter and trained token."""
        return (4 if training.lora_rank else 6) + (2 if self.trainer.recomputes else 0)


def noise_operations(noise: Noise) -> int:
    """Per rejected token and element of a (vocabulary × hidden) matrix, as `train/noise/module.py` does it.

    Logits and g forward; if g is trained, both again backward, and the gradients of its matrix and, unless g is affine,
    of its input. Turns of the policy alone, which do not need the latter, are counted like the others.
    """
    backward = 4 + (2 if noise.module == "affine" else 4)
    return 4 + (backward if noise.trained else 0)


def _at(tokens: Tokens, at: Lengths) -> float:
    return tokens.mean if at == "mean" else tokens.most


def _asked(stage: Rehearsed, training: Training, at: Lengths) -> float:
    """Tokens of a row's prompt as trained."""
    asked = _at(stage.asked, at)
    return min(asked, training.max_prompt_length or asked)


def _trained_tokens(stage: Rehearsed, training: Training, at: Lengths) -> float:
    """Tokens of a row, its prompt counted once, cut as in training."""
    asked, limit = _asked(stage, training, at), training.max_length * len(stage.answers)
    new = sum(_at(side, at) for side in stage.answers)
    return asked + (min(new, limit - asked) if limit > asked else 0.0)


def _rejected(stage: Rehearsed, at: Lengths) -> float:
    """Tokens of a pair's rejected answer: the longer one's, since either may be rejected."""
    assert stage.training is not None, "pairs are trained on"
    return min(max(_at(side, at) for side in stage.answers), stage.training.max_length)


def _passes(training: Training) -> float:
    """Sums over a training's rows."""
    return float(training.stop_after or training.epochs)


def _hours(operations_per_weight: float, parameters: int | None, work: str) -> float | None:
    if parameters is None:
        return None
    return operations_per_weight * parameters / (SHARES[work] * PEAK) / 3600


def _sum(*hours: float | None) -> float | None:
    known = [hour for hour in hours if hour is not None]
    return sum(known) if len(known) == len(hours) else None
