"""What a new recipe sets so that it fits its model, its seed and this machine: lengths, split, counts, trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfboost.data.hub_data import ASSUMED_ROWS
from selfboost.data.seeds import Seed
from selfboost.engines import Looked, look_at
from selfboost.new_recipe.device import Machine, room_for
from selfboost.plan import rates
from selfboost.plan.model_size import is_model_name, local_folder, model_size
from selfboost.recipe import Recipe
from selfboost.records import Model, Sampling
from selfboost.seed_models import MAKERS
from selfboost.setting_types import parts_of
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
CPU_PROMPTS, CPU_PAIRS = 400, 120
"""Of a run without a GPU: a first run of minutes to an hour, not of days."""
ADAPTER_RANK = 16
BASE_ITERATIONS = 1
"""Of a model without a chat template, whose answers rarely end: measured, the first iteration of SPIN on a tiny one
makes gold likelier, and a second one, on 210 of 210 answers that were cut, ruins it."""
NEVER_ENDS = "no chat template: the model may not know how to end an answer; look at one iteration first"
UNTAUGHT = (
    "the model has no chat template of its own, so it may not know how to end an answer, and later iterations could "
    "ruin it: one is planned. Papers start from a fine-tuned model, such as that of a run with --method seed_sft"
)
MEMORY = "by the memory that there is here"

OWN = ("initial", "previous", *MAKERS)
"""Models that a run has or makes: each as large as the policy."""
LIMITED = ("benchmark", "method.distributions")
"""Parts that sample with a `max_tokens` of their own."""

Settings = dict[str, Any]
"""Path of a setting, such as `method.sampling.max_tokens` → value."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What was chosen, why, and what the user must know."""

    settings: Settings
    reasons: Mapping[str, str]
    """Path of a setting or a section → why it has its value."""
    warnings: Sequence[str] = ()

    def and_then(self, settings: Settings, reasons: Mapping[str, str], warnings: Sequence[str] = ()) -> Fitted:
        """With more of each."""
        return Fitted(
            settings={**self.settings, **settings},
            reasons={**self.reasons, **reasons},
            warnings=[*self.warnings, *warnings],
        )


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Tokens of the seed's prompts, template included, and answers, at `PERCENTILE`."""

    prompt: int
    answer: int
    median_answer: int
    context: int | None


def fit(recipe: Recipe, machine: Machine, seeds: Sequence[Seed]) -> Fitted:
    """Settings for the recipe's model on this machine and its seed, of which there are none where it is not here.

    Raises:
        ValueError: the model cannot be used, or no answer fits its context.
    """
    reasons = {} if machine.gpu else {"engine": "this machine has no GPU"}
    found = Fitted(settings={"engine.dtype": machine.dtype, "trainer.dtype": machine.dtype}, reasons=reasons)
    looked, lengths = _look(recipe), None
    if looked is not None and not looked.own_template:
        found = found.and_then({"run.iterations": BASE_ITERATIONS}, {"run.iterations": NEVER_ENDS}, [UNTAUGHT])
    rows = ASSUMED_ROWS
    if seeds:
        split = _split(len(seeds))
        rows = len(seeds) - sum(split.values())
        why = {"seed": f"15 % of the seed's {len(seeds):,} prompts each, at most {LARGEST_SPLIT}"}
        found = found.and_then(split, why)
    found = found.and_then(_counts(recipe, rows, machine), {})
    if seeds and looked is not None:
        lengths = _lengths(looked, seeds)
        found = _with_room(found, recipe, lengths)
    if (size := model_size(recipe.model.location)) is not None:
        room = room_for(
            size,
            machine,
            trained=max(getattr(recipe.trainer, "micro_batch_tokens", 0), 2 * recipe.training.max_length),
            sampled=_longest(recipe, lengths, found.settings),
            rows=getattr(recipe.engine, "batch_size", 1),
            judging=_judging(recipe),
        )
        trainings = _trainings(recipe, size.parameters, rows, found.settings, room.adapter)
        why = {"training": f"for {size.parameters:,} parameters and at least {rates.STEPS} steps"}
        why |= dict.fromkeys([*room.settings, "training.lora_rank"], MEMORY)
        found = found.and_then({**trainings, **room.settings}, why, room.warnings)
    return found


def _look(recipe: Recipe) -> Looked | None:
    """The model as far as it can be seen without loading it; None where it is not on this machine."""
    path = recipe.model.location
    if is_model_name(path) and local_folder(path) is None:
        return None
    return look_at(recipe.engine, Model(name="initial", path=path, fingerprint=""))


def _with_room(found: Fitted, recipe: Recipe, lengths: Lengths) -> Fitted:
    """With lengths that fit the seed and the context; warns of a context that is too short for the answers."""
    settings = _room(recipe, lengths)
    why = {"method.sampling": f"{PERCENTILE:.0%} of the seed's answers have at most {lengths.answer} tokens"}
    limit = settings.get("method.sampling.max_tokens", lengths.answer)
    if limit >= lengths.median_answer:
        return found.and_then(settings, why)
    short = (
        f"half of the seed's answers are longer than the {limit} tokens that the model's context of "
        f"{lengths.context:,} leaves beside a prompt: take a seed of shorter texts or a model with more context"
    )
    return found.and_then(settings, why, [short])


def _longest(recipe: Recipe, lengths: Lengths | None, chosen: Settings) -> int:
    """Most tokens of a sampled row, about: a prompt, the draft that it may hold, and the answer."""
    places = [path for path, _ in parts_of(recipe, Sampling)] + [path for path in LIMITED if _limit(recipe, path)]
    answer = max((chosen.get(f"{path}.max_tokens", _limit(recipe, path)) for path in places), default=0)
    longest = answer * (2 if _rewrites(recipe) else 1) + (lengths.prompt + REQUEST if lengths else answer)
    return min(longest, lengths.context) if lengths and lengths.context else longest


def _judging(recipe: Recipe) -> int:
    """How many models as large as the policy the recipe's scorers hold at once."""
    scorers = [recipe.scorer] if recipe.method.scored else []
    scorers += [scorer] if (scorer := getattr(recipe.benchmark, "scorer", None)) is not None else []
    return max((sum(name in OWN for name in scorer.needs().values()) for scorer in scorers), default=0)


def _rewrites(recipe: Recipe) -> bool:
    return any(path.startswith("method.improver") for path, _ in parts_of(recipe, Training))


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


def _trainings(recipe: Recipe, parameters: int, rows: int, chosen: Settings, adapter: bool) -> Settings:
    """Rate, batch, passes of every training, and an adapter where all weights do not fit in memory."""
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


def _lengths(looked: Looked, seeds: Sequence[Seed]) -> Lengths:
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
    rewrites = _rewrites(recipe)
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
    for path in LIMITED:
        if own := _limit(recipe, path):
            found[f"{path}.max_tokens"] = min(own, limit)
    if lengths.context is not None:
        for path, training in parts_of(recipe, Training):
            if training.max_length > lengths.context:
                found[f"{path}.max_length"] = lengths.context
            if training.max_prompt_length >= min(training.max_length, lengths.context):
                found[f"{path}.max_prompt_length"] = 0
    return found


def _limit(recipe: Recipe, path: str) -> int:
    """The longest answer that a part of the recipe sets; 0 if it sets none."""
    value: Any = recipe
    for name in (*path.split("."), "max_tokens"):
        value = getattr(value, name, None)
    return value or 0
