"""What a new recipe sets so that it fits its model, its seed and this machine: lengths, split, counts, trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfboost.data.seed_data import place_of
from selfboost.data.seeds import Seed, read_seeds
from selfboost.engines import look_at
from selfboost.new_recipe import rates
from selfboost.plan.model_size import is_model_name, local_folder, model_size
from selfboost.recipe import Recipe
from selfboost.records import Model, Sampling
from selfboost.setting_types import parts_of
from selfboost.system import total_memory
from selfboost.train import Training

PERCENTILE = 0.95
"""Share of the seed's prompts and answers that the lengths leave room for."""
LOOKED_AT = 500
"""Most seeds whose tokens are counted."""
SPARE = 1.25
"""Room for answers longer than the seed's."""
REQUEST = 96
"""Tokens that a request to rewrite or to judge has beside prompt and answer, about."""
FEWEST = 16
"""Least tokens of an answer that are worth a run."""
SPLIT, LARGEST_SPLIT, SMALLEST_SPLIT = 0.15, 200, 8
"""Share of the seed for validation, and as much for reporting; most and fewest prompts of each."""
CPU_PROMPTS, CPU_PAIRS, CPU_ITERATIONS, GPU_ITERATIONS = 400, 120, 2, 4
"""Of a run without a GPU: a first run of minutes to an hour, not of days."""
BYTES = 18
"""Host or device bytes per weight of a full training: weights, gradients, AdamW's moments, activations."""
ADAPTER_RANK = 16

Settings = dict[str, Any]
"""Path of a setting, such as `method.sampling.max_tokens` → value."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What was chosen, why, and what the user must know."""

    settings: Settings
    reasons: Mapping[str, str]
    """Path of a setting or a section → why it has its value."""
    warnings: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What trains and samples."""

    gpu: bool
    memory: int
    """Bytes: the GPU's, or this machine's."""

    @classmethod
    def here(cls) -> Machine:
        """This machine."""
        import torch

        if torch.cuda.is_available():
            return cls(gpu=True, memory=int(torch.cuda.mem_get_info(0)[1]))
        return cls(gpu=False, memory=total_memory())

    @property
    def iterations(self) -> int:
        """Of a first run: the papers' four, or fewer where there is no GPU."""
        return GPU_ITERATIONS if self.gpu else CPU_ITERATIONS


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Tokens of the seed's prompts, template included, and answers, at `PERCENTILE`."""

    prompt: int
    answer: int
    median_answer: int
    context: int | None


def fit(recipe: Recipe, machine: Machine) -> Fitted:
    """Settings for the recipe's model and seed on this machine; what cannot be opened here is left as it is.

    Raises:
        ValueError: the model or the seed cannot be used, or no answer fits the model's context.
    """
    found = Fitted(settings={}, reasons={}, warnings=[])
    seeds = _seeds(recipe)
    if seeds is None:
        return found
    settings: Settings = dict(_split(len(seeds)))
    reasons = {"seed": f"15 % of the seed's {len(seeds):,} prompts each, at most {LARGEST_SPLIT}"}
    warnings: list[str] = []
    rows = len(seeds) - settings["seed.validation"] - settings["seed.held_out"]
    settings |= _counts(recipe, rows, machine)
    size = model_size(recipe.model.location)
    if size is not None:
        settings |= _trainings(recipe, size.parameters, rows, settings, machine)
        reasons["training"] = f"for {size.parameters:,} parameters and at least {rates.STEPS} steps"
    if (lengths := _lengths(recipe, seeds)) is not None:
        settings |= _room(recipe, lengths)
        reasons["method.sampling"] = f"{PERCENTILE:.0%} of the seed's answers have at most {lengths.answer} tokens"
        limit = settings.get("method.sampling.max_tokens", lengths.answer)
        if limit < lengths.median_answer:
            warnings.append(
                f"half of the seed's answers are longer than the {limit} tokens that the model's context of "
                f"{lengths.context:,} leaves beside a prompt: take a seed of shorter texts or a model with more context"
            )
    settings["engine.dtype"] = settings["trainer.dtype"] = "bfloat16" if machine.gpu else "float32"
    if not machine.gpu:
        reasons["engine"] = "this machine has no GPU"
    return Fitted(settings=settings, reasons=reasons, warnings=warnings)


def _seeds(recipe: Recipe) -> list[Seed] | None:
    """The whole seed; None where it is on the hub."""
    place = place_of(recipe.seed.path, "seed")
    return read_seeds(place)[0] if isinstance(place, Path) else None


def _split(seeds: int) -> Settings:
    each = min(LARGEST_SPLIT, max(SMALLEST_SPLIT, round(SPLIT * seeds)))
    return {"seed.validation": each, "seed.held_out": each}


def _counts(recipe: Recipe, rows: int, machine: Machine) -> Settings:
    """Few prompts and pairs where there is no GPU."""
    if machine.gpu:
        return {}
    found: Settings = {}
    for name, most in (("prompts", CPU_PROMPTS), ("pairs", min(CPU_PAIRS, rows))):
        if getattr(recipe.method, name, 0) > most:
            found[f"method.{name}"] = most
    return found


def _trainings(recipe: Recipe, parameters: int, rows: int, chosen: Settings, machine: Machine) -> Settings:
    """Rate, batch, passes of every training, and an adapter where all weights do not fit in memory."""
    adapter = BYTES * parameters > machine.memory
    pairs = chosen.get("method.pairs", getattr(recipe.method, "pairs", 0)) or rows
    found: Settings = {}
    for path, _ in parts_of(recipe, Training):
        policy = path == "training"
        rate = (rates.preference_rate if policy else rates.finetuning_rate)(parameters)
        rate *= rates.ADAPTER if adapter else 1
        settings = rates.training(rate, min(pairs, rows) if policy else rows)
        found |= {f"{path}.{name}": value for name, value in settings.items()}
        if adapter:
            found |= {f"{path}.lora_rank": ADAPTER_RANK, f"{path}.lora_alpha": 2.0 * ADAPTER_RANK}
    return found


def _lengths(recipe: Recipe, seeds: Sequence[Seed]) -> Lengths | None:
    """Of a model on this machine; None for another."""
    path = recipe.model.location
    if is_model_name(path) and local_folder(path) is None:
        return None
    looked = look_at(recipe.engine, Model(name="initial", path=path, fingerprint=""))
    some = seeds[:: max(1, len(seeds) // LOOKED_AT)]
    prompts = sorted(len(looked.tokenizer.prompt_ids(seed.messages)) for seed in some)
    answers = sorted(len(looked.tokenizer.answer_ids(seed.response)) for seed in some)
    at = round(PERCENTILE * (len(some) - 1))
    return Lengths(
        prompt=prompts[at],
        answer=answers[at],
        median_answer=answers[len(some) // 2],
        context=looked.context_length,
    )


def _room(recipe: Recipe, lengths: Lengths) -> Settings:
    """Longest answers and trainings that fit the context together with the prompt."""
    found: Settings = {}
    rewrites = any(path.startswith("method.improver") for path, _ in parts_of(recipe, Training))
    limit = max(FEWEST, round(SPARE * lengths.answer))
    if lengths.context is not None:
        left = lengths.context - lengths.prompt
        limit = min(limit, (left - REQUEST) // 2 if rewrites else left)
    if limit < FEWEST:
        raise ValueError(
            f"prompts of {lengths.prompt} tokens leave {max(0, limit)} for an answer in the model's context of "
            f"{lengths.context:,}: take a seed of shorter prompts, or a model with more context"
        )
    both = limit + lengths.prompt  # a generator writes a prompt and its answer
    if lengths.context is not None:
        both = min(both, lengths.context - REQUEST)
    for path, sampling in parts_of(recipe, Sampling):
        room = both if path.startswith("method.generator") else limit
        found[f"{path}.max_tokens"] = min(sampling.max_tokens, room)
    for path in ("benchmark", "method.distributions"):
        if hasattr(_at(recipe, path), "max_tokens"):
            found[f"{path}.max_tokens"] = min(_at(recipe, path).max_tokens, limit)
    if lengths.context is not None:
        for path, training in parts_of(recipe, Training):
            if training.max_length > lengths.context:
                found[f"{path}.max_length"] = lengths.context
            if training.max_prompt_length >= min(training.max_length, lengths.context):
                found[f"{path}.max_prompt_length"] = 0
    return found


def _at(recipe: Recipe, path: str) -> Any:
    value: Any = recipe
    for name in path.split("."):
        value = getattr(value, name, None)
    return value
