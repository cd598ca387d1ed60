"""What a planned run costs, roughly: tokens, floating-point operations, GPU hours, memory.

2 operations per parameter and token of a forward pass, 4 more of a backward pass (2 where the weights are frozen, as
under LoRA), 2 more where activations are recomputed: arXiv 2001.08361, section 2.1. Leaves out attention's own
products, loading, the disk, and several devices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from selfboost.model_size import ModelSize
from selfboost.recipe import Recipe
from selfboost.rehearsal import Rehearsed

GPU = "A100"
PEAK = 312e12
"""Operations per second of that GPU in bfloat16, as its maker gives them."""
SHARES: Mapping[str, float] = {"training": 0.4, "scoring": 0.3, "sampling": 0.1}
"""Assumed share of the peak that each kind of work reaches."""
CHARACTERS = 4
"""Of a token, about, in English."""
TEMPLATES: Mapping[str, str] = {
    "keywords": "generator.template",
    "rewrite": "improver.template",
    "judgement": "template",
    "shown": "self_instruct.template",
}
"""Source of a request → the method's setting that holds its own words."""
NO_ANSWERS = ("keywords", "shown", "judgement")
"""Sources of requests that ask for something else than an answer to a prompt."""
WORK: Mapping[str, str] = {"sample": "sampling", "score": "scoring", "finetune": "training", "prefer": "training"}
"""Verb → kind of work; what is not here costs nothing worth naming."""
MOMENT_BYTES: Mapping[str, int] = {"adamw": 8, "adamw_8bit": 2, "rmsprop": 4}
"""Of the optimiser, per trained parameter."""
ADAPTED = 20
"""LoRA's parameters per layer, width and rank, with an adapter on every linear layer of a Llama."""
ACTIVATIONS = 60
"""Bytes held per layer, width and token in bfloat16 for the backward pass, the head's share included: what
`benchmarks.training` measures for two small Llamas, within a fifth."""
CACHE_ROOM = 1.5
"""What the sampler's cache of keys and values may hold over what is in it, to grow without copying."""

Lengths = Literal["mean", "most"]
"""Sampled answers as long as the seed's, or all as long as they may be."""


@dataclass(frozen=True, kw_only=True)
class SeedLengths:
    """Mean tokens of a seed's prompt and answer."""

    prompt: float
    answer: float
    how: str
    """How they are known, in a sentence."""


@dataclass(frozen=True, kw_only=True)
class ScorerSize:
    """Of a scorer's models together."""

    parameters: int
    weight_bytes: int
    """Bytes of one weight."""
    pairwise: bool = False
    """It reads another answer to the prompt beside each."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one stage."""

    tokens: int
    """Sampling: of the new answers alone; else of prompts and answers, over all epochs."""
    hours: float | None
    """On one GPU; None where a model's size is unknown."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Computes the costs of a recipe's stages."""

    recipe: Recipe
    stages: Sequence[Rehearsed]
    lengths: SeedLengths
    model: ModelSize | None
    scorers: Mapping[bool, ScorerSize | None]
    """Measuring or not → the scorer's size; None where one of its models' is unknown."""

    def of(self, stage: Rehearsed, at: Lengths) -> Cost:
        """The cost of a stage."""
        work, size = WORK.get(stage.verb, ""), self.model.parameters if self.model else None
        asked, new = self._row(stage, at)
        if work == "sampling":
            reading, writing = _hours(2 * stage.rows * asked, size, "scoring"), _hours(2 * stage.rows * new, size, work)
            return Cost(tokens=round(stage.rows * new), hours=_sum(reading, writing))
        if work == "scoring":
            scorer = self._self_size() if stage.self_scored else self.scorers[stage.measured]
            tokens = stage.rows * (asked + new * (2 if scorer and scorer.pairwise else 1))
            return Cost(tokens=round(tokens), hours=_hours(2 * tokens, scorer.parameters if scorer else None, work))
        if work == "training":
            assert stage.training is not None, "a training stage has its settings"
            once = stage.rows * (asked + new)
            tokens = once * float(stage.training["epochs"])
            hours = _hours(self._per_weight(stage.training) * tokens, size, work)
            reference = _hours(2 * once, size, "scoring") if stage.reference else 0.0
            return Cost(tokens=round(tokens), hours=_sum(hours, reference))
        return Cost(tokens=0, hours=0.0)

    def training_memory(self) -> int | None:
        """Bytes that the largest training holds on one device; None where the model's size is unknown."""
        trainings = [stage for stage in self.stages if stage.training is not None]
        if self.model is None or not trainings:
            return None
        return max(training_bytes(self.model, s, self.recipe.trainer) for s in trainings)

    def sampling_memory(self) -> int | None:
        """Bytes of weights and of the cache of keys and values, every row of a batch as long as it may be."""
        sampled = [stage for stage in self.stages if stage.sampling]
        if self.model is None or not sampled:
            return None
        longest = max(sum(self._row(stage, "most")) for stage in sampled)
        width = weight_bytes(self.recipe.engine)
        cached = 2 * self.model.layers * self.model.key_width * width * getattr(self.recipe.engine, "batch_size", 1)
        return round(self.model.parameters * width + CACHE_ROOM * cached * longest)

    def disk(self) -> int | None:
        """Bytes of all trained models."""
        trained = sum(stage.training is not None for stage in self.stages)
        return self.model.parameters * weight_bytes(self.recipe.trainer) * trained if self.model else None

    def scoring_memory(self) -> int | None:
        """Bytes of the weights of the larger scorer, all its models together; None where one is unknown."""
        known = [scorer.parameters * scorer.weight_bytes for scorer in self.scorers.values() if scorer is not None]
        return max(known) if len(known) == len(self.scorers) else None

    def _row(self, stage: Rehearsed, at: Lengths) -> tuple[float, float]:
        """Tokens of a row's prompt and of its completions."""
        draft = self._sampled(self._longest(stage.measured), at)
        shown = int(getattr(getattr(self.recipe.method, "self_instruct", None), "shown", 0))
        held = {"keywords": 0.0, "shown": shown * self.lengths.prompt}.get(stage.source, self.lengths.prompt)
        asked = self._own_words(stage.source) + held + (draft if stage.source in ("rewrite", "judgement") else 0)
        whole = self.lengths.answer + (self.lengths.prompt if stage.source == "keywords" else 0)
        whole = self.lengths.prompt if stage.source == "shown" else whole
        if stage.sampling is not None:
            return asked, stage.sampling["max_tokens"] if at == "most" else min(stage.sampling["max_tokens"], whole)
        new = whole if stage.given else draft
        if stage.verb == "prefer":
            new += draft
        limit = stage.training["max_length"] * (2 if stage.verb == "prefer" else 1) if stage.training else float("inf")
        return asked, min(new, limit - asked) if limit > asked else 0.0

    def _own_words(self, source: str) -> float:
        """Tokens of a request's template."""
        found: Any = self.recipe.method
        for name in TEMPLATES[source].split(".") if source in TEMPLATES else ():
            found = getattr(found, name, "")
        return len(found) / CHARACTERS if isinstance(found, str) else 0.0

    def _sampled(self, limit: int, at: Lengths) -> float:
        return limit if at == "most" else min(limit, self.lengths.answer)

    def _longest(self, measured: bool) -> int:
        """The token limit of sampled answers, of a benchmark's or of the method's."""
        answering = [s for s in self.stages if s.sampling and s.source not in NO_ANSWERS]
        own = [s for s in answering if s.measured == measured]
        return max((s.sampling["max_tokens"] for s in own or answering if s.sampling), default=0)

    def _self_size(self) -> ScorerSize | None:
        """Of the policy as a scorer of its own answers."""
        if self.model is None:
            return None
        return ScorerSize(parameters=self.model.parameters, weight_bytes=weight_bytes(self.recipe.trainer))

    def _per_weight(self, training: Mapping[str, Any]) -> int:
        """Operations per parameter and trained token."""
        again = 2 if getattr(self.recipe.trainer, "gradient_checkpointing", False) else 0
        return (4 if training["lora_rank"] else 6) + again


def training_bytes(model: ModelSize, stage: Rehearsed, trainer: object) -> int:
    """Weights, float32 masters, standing gradients, moments, activations of one micro-batch (`train/optimizers.py`).

    Of one device; where weights are spread over all GPUs of a machine (`devices = 0`), as if it had one.
    """
    assert stage.training is not None, "a training stage has its settings"
    training, width = stage.training, weight_bytes(trainer)
    devices = getattr(trainer, "devices", 1) if getattr(trainer, "sharding", False) else 1
    # What is spread over devices is float32 itself; else weights in bfloat16 have float32 masters.
    held = 4 if devices != 1 else width
    each = held + (4 if held < 4 else 0) + 4 + MOMENT_BYTES[training["optimizer"]] + (4 if training["ema_decay"] else 0)
    if rank := training["lora_rank"]:
        weights = model.parameters * width + ADAPTED * model.layers * model.width * rank * each
    else:
        weights = model.parameters * each // max(1, devices)
    sides = 2 if stage.verb == "prefer" else 1
    tokens = max(getattr(trainer, "micro_batch_tokens", 0), sides * training["max_length"])
    scale = model.width * tokens * width // 2
    if getattr(trainer, "gradient_checkpointing", False):
        return weights + scale * (2 * model.layers + ACTIVATIONS)
    return weights + scale * ACTIVATIONS * model.layers


def weight_bytes(component: object) -> int:
    """Bytes of a weight; `auto` is bfloat16, as on a GPU."""
    return 4 if getattr(component, "dtype", "auto") == "float32" else 2


def _hours(operations_per_weight: float, parameters: int | None, work: str) -> float | None:
    if parameters is None:
        return None
    return operations_per_weight * parameters / (SHARES[work] * PEAK) / 3600


def _sum(*hours: float | None) -> float | None:
    known = [hour for hour in hours if hour is not None]
    return sum(known) if len(known) == len(hours) else None
