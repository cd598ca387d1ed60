"""What a planned run costs, roughly: tokens, floating-point operations, GPU hours, memory.

2 operations per parameter and token of a forward pass, 4 more of a backward pass (2 where the weights are frozen, as
under LoRA), 2 more where activations are recomputed: arXiv 2001.08361, section 2.1. Leaves out attention's own
products, loading, the disk, and several devices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from selfboost.plan.memory import cache_bytes, noise_bytes, noise_of, training_bytes, weight_bytes
from selfboost.plan.model_size import ModelSize, model_size
from selfboost.plan.rehearsal import NAMED, Rehearsed, scorers_of
from selfboost.recipe import Recipe
from selfboost.scorers.judge import Judge

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
    """Sampling: of the new answers alone; else of all that is read, over all epochs; of a judge its replies too."""
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
            return self._scoring(stage, asked, new)
        if work == "training":
            assert stage.training is not None, "a training stage has its settings"
            once = stage.rows * (asked + new)
            tokens = once * _passes(stage)
            hours = _hours(self._per_weight(stage.training) * tokens, size, work)
            reference = _hours(2 * once, size, "scoring") if stage.reference else 0.0
            return Cost(tokens=round(tokens), hours=_sum(hours, reference, self._noise_hours(stage, at)))
        return Cost(tokens=0, hours=0.0)

    def training_memory(self) -> int | None:
        """Bytes that the largest training holds on one device; None where the model's size is unknown."""
        trainings = [stage for stage in self.stages if stage.training is not None]
        if self.model is None or not trainings:
            return None
        trainer = self.recipe.trainer
        return max(training_bytes(self.model, s, trainer) + noise_bytes(self.model, s, trainer) for s in trainings)

    def noise_memory(self) -> int | None:
        """Bytes of what noise adds to a training on each device, 0 without noise; None where V and D are unknown."""
        noisy = [stage for stage in self.stages if noise_of(stage)]
        return max((noise_bytes(self.model, s, self.recipe.trainer) for s in noisy), default=0) if self.model else None

    def sampling_memory(self) -> int | None:
        """Bytes of weights and of the cache of keys and values, every row of a batch as long as it may be."""
        sampled = [stage for stage in self.stages if stage.sampling]
        if self.model is None or not sampled:
            return None
        longest = max(sum(self._row(stage, "most")) for stage in sampled)
        engine = self.recipe.engine
        return round(self.model.parameters * weight_bytes(engine) + cache_bytes(self.model, engine, longest))

    def disk(self) -> int | None:
        """Bytes of all trained models."""
        trained = sum(stage.training is not None for stage in self.stages)
        return self.model.parameters * weight_bytes(self.recipe.trainer) * trained if self.model else None

    def disk_while_training(self) -> int | None:
        """Bytes of the hidden states that a training with noise keeps of all rejected answers, 0 without noise."""
        most = max((s.rows * self._rejected(s, "most") for s in self.stages if noise_of(s)), default=0)
        return round(most * self.model.width * weight_bytes(self.recipe.trainer)) if self.model else None

    def scoring_memory(self) -> int | None:
        """Bytes of the largest scorer's models (a judge's cache with them) of those that are asked; None as above."""
        scored = [stage for stage in self.stages if stage.verb == "score"]
        held = [self._scorer_bytes(measured) for measured in {s.measured for s in scored if not s.self_scored}]
        if any(stage.self_scored for stage in scored):
            own = self._self_size()
            held.append(own.parameters * own.weight_bytes if own else None)
        known = [size for size in held if size is not None]
        return max(known, default=0) if len(known) == len(held) else None

    def _noise_hours(self, stage: Rehearsed, at: Lengths) -> float | None:
        """Of the noise's own matrix products, and of the reference's states of rejected answers, computed once."""
        noise = noise_of(stage)
        if noise is None or self.model is None:
            return 0.0
        rejected, asked = self._rejected(stage, at), self._row(stage, at)[0]
        tokens, weights = stage.rows * rejected * _passes(stage), self.model.vocabulary * self.model.width
        own = _hours(noise_operations(noise) * tokens, weights, "training")
        return _sum(own, _hours(2 * stage.rows * (asked + rejected), self.model.parameters, "scoring"))

    def _rejected(self, stage: Rehearsed, at: Lengths) -> float:
        """Tokens of a pair's rejected answer: of the longer one, since either may be rejected."""
        assert stage.training is not None, "pairs are trained on"
        return min(max(self._answers(stage, at)), stage.training["max_length"])

    def _scoring(self, stage: Rehearsed, asked: float, new: float) -> Cost:
        """The cost of scores: the scorer reads them all, a judge once for each of its replies, which it writes."""
        scorer = self._self_size() if stage.self_scored else self.scorers[stage.measured]
        judge = None if stage.self_scored else self._judge(stage.measured)
        size, written = scorer.parameters if scorer else None, 0
        read = stage.rows * (asked + new * (2 if scorer and scorer.pairwise else 1))
        if judge:
            replies = stage.rows * judge.judging.samples
            read, written = replies * (_tokens(judge.template) + asked + new), replies * judge.judging.max_tokens
        hours = _sum(_hours(2 * read, size, "scoring"), _hours(2 * written, size, "sampling"))
        return Cost(tokens=round(read + written), hours=hours)

    def _judge(self, measured: bool) -> Judge | None:
        """The language model that judges, where one does."""
        scorer = next(iter(scorers_of(self.recipe.benchmark)), None) if measured else self.recipe.scorer
        return scorer if isinstance(scorer, Judge) else None

    def _scorer_bytes(self, measured: bool) -> int | None:
        """Bytes of a scorer's weights, and of a judge's cache with every row as long as it may be."""
        scorer, judge = self.scorers[measured], self._judge(measured)
        if scorer is None or judge is None:
            return scorer.parameters * scorer.weight_bytes if scorer else None
        model = self.model if judge.path in NAMED else model_size(judge.path)
        judged = [sum(self._row(s, "most")) for s in self.stages if s.verb == "score" and s.measured == measured]
        longest = _tokens(judge.template) + max(judged, default=0) + judge.judging.max_tokens
        return round(scorer.parameters * weight_bytes(judge.engine) + cache_bytes(model, judge.engine, longest))

    def _row(self, stage: Rehearsed, at: Lengths) -> tuple[float, float]:
        """Tokens of a row's prompt and of its completions."""
        draft = self._draft(stage, at)
        shown = int(getattr(getattr(self.recipe.method, "self_instruct", None), "shown", 0))
        held = {"keywords": 0.0, "shown": shown * self.lengths.prompt}.get(stage.source, self.lengths.prompt)
        asked = self._own_words(stage.source) + held + (draft if stage.source in ("rewrite", "judgement") else 0)
        if stage.sampling is not None:
            most = stage.sampling["max_tokens"]
            return asked, most if at == "most" else min(most, self._whole(stage))
        limit = float("inf")
        if stage.training:
            asked = min(asked, stage.training["max_prompt_length"] or asked)
            limit = stage.training["max_length"] * (2 if stage.verb == "prefer" else 1)
        return asked, min(sum(self._answers(stage, at)), limit - asked) if limit > asked else 0.0

    def _answers(self, stage: Rehearsed, at: Lengths) -> list[float]:
        """Tokens of a row's answer, of a pair's two."""
        draft = self._draft(stage, at)
        return [self._whole(stage) if stage.given else draft, *([draft] if stage.verb == "prefer" else [])]

    def _whole(self, stage: Rehearsed) -> float:
        """Tokens of an answer as long as people's."""
        if stage.source == "shown":
            return self.lengths.prompt
        return self.lengths.answer + (self.lengths.prompt if stage.source == "keywords" else 0)

    def _draft(self, stage: Rehearsed, at: Lengths) -> float:
        """Tokens of a sampled answer."""
        limit = self._longest(stage.measured)
        return limit if at == "most" else min(limit, self.lengths.answer)

    def _own_words(self, source: str) -> float:
        """Tokens of a request's template."""
        found: Any = self.recipe.method
        for name in TEMPLATES[source].split(".") if source in TEMPLATES else ():
            found = getattr(found, name, "")
        return _tokens(found) if isinstance(found, str) else 0.0

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


def noise_operations(noise: Mapping[str, Any]) -> int:
    """Per rejected token and element of a (vocabulary × hidden) matrix, as `train/noise/module.py` does it.

    Logits and g forward; where g learns, both again backward, and the gradients of its matrix and, but for an affine g,
    of what it is given. Turns of the policy alone, which do without the latter, are counted like the others.
    """
    backward = 4 + (2 if noise["module"] == "affine" else 4)
    return 4 + (backward if noise["trained"] else 0)


def _passes(stage: Rehearsed) -> float:
    """Over a training's rows."""
    assert stage.training is not None, "a training stage has its settings"
    return float(stage.training["stop_after"] or stage.training["epochs"])


def _tokens(text: str) -> float:
    """Tokens of a text, about."""
    return len(text) / CHARACTERS


def _hours(operations_per_weight: float, parameters: int | None, work: str) -> float | None:
    if parameters is None:
        return None
    return operations_per_weight * parameters / (SHARES[work] * PEAK) / 3600


def _sum(*hours: float | None) -> float | None:
    known = [hour for hour in hours if hour is not None]
    return sum(known) if len(known) == len(hours) else None
