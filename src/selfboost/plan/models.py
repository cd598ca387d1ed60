"""A recipe's models, examined without their weights if they are on this machine: sizes, lengths of seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfboost.benchmark import GOLD, Opposed
from selfboost.data.hub_data import is_hub_name
from selfboost.data.seed_data import SeedData
from selfboost.engines import look_at
from selfboost.plan.model_size import ModelSize, is_model_name, local_folder, model_size
from selfboost.plan.rehearsal import NAMED
from selfboost.recipe import Recipe
from selfboost.recipe_parts import scorers_of
from selfboost.records import Model
from selfboost.scorers import notes_of
from selfboost.templates import CHARACTERS, about_tokens

ASSUMED_PROMPT, ASSUMED_ANSWER = 200, 350
"""Assumed tokens of a seed that is not on this machine, similar to UltraFeedback's."""
LOOKED_AT = 60
"""Most seeds whose tokens are counted."""


@dataclass(frozen=True, kw_only=True)
class SeedLengths:
    """Mean tokens of a seed's prompt and answer."""

    prompt: float
    answer: float
    how: str
    """How they were found, in a sentence."""
    context: int | None = None
    """Most tokens of prompt and answer that the model reads; None: unknown, or no limit."""


def look_at_model(recipe: Recipe, data: SeedData) -> tuple[ModelSize | None, SeedLengths, list[str]]:
    """(size, mean lengths of the seed, notes) of the initial model.

    Raises:
        ValueError: it is not a model.
    """
    path = recipe.model.location
    if is_model_name(path) and local_folder(path) is None:
        size = model_size(path)
        size_known = f"assumed to have {_parameters(size)} from its name" if size else "its size is unknown"
        note = f"{path} is not on this machine: {size_known}; it is downloaded when the run starts"
        return size, estimated_lengths(recipe, data), [note]
    fingerprint = recipe.engine.fingerprint(path)
    looked = look_at(recipe.engine, Model(name="initial", path=path, fingerprint=fingerprint))
    tokenizer, notes, size = looked.tokenizer, [*looked.tokenizer.notes, *looked.notes], model_size(path)
    if is_hub_name(recipe.seed.path):
        return size, estimated_lengths(recipe, data), notes
    some = data.train[:LOOKED_AT]
    prompts = [len(tokenizer.prompt_ids(s.messages)) for s in some]
    notes += _too_long(path, prompts, looked.context_length)
    prompt = sum(prompts) / len(some)
    answer = sum(len(tokenizer.answer_ids(s.response)) for s in some) / len(some)
    how = f"seeds have {prompt:.0f} tokens of prompt and {answer:.0f} of answer (mean of {len(some)})"
    return size, SeedLengths(prompt=prompt, answer=answer, how=how, context=looked.context_length), notes


def _too_long(path: str, prompts: Sequence[int], context: int | None) -> list[str]:
    """On prompts that leave no room for an answer."""
    long = sum(tokens >= context for tokens in prompts) if context else 0
    if long == len(prompts):
        raise ValueError(
            f"{path!r} reads {context} tokens, and all of {len(prompts)} seed prompts have as many or more: choose a "
            "model with a longer context or shorter prompts"
        )
    return [f"{long} of {len(prompts)} seed prompts fill the context of {context} tokens: not answered"] if long else []


def look_at_other_models(recipe: Recipe) -> list[str]:
    """Notes on the models of scorers and comparisons.

    Raises:
        ValueError: one is not a model.
    """
    notes: list[str] = []
    notes += [note for scorer in scorers_of(recipe) for note in notes_of(scorer, skip=NAMED)]
    needed = {name: "scorer" for scorer in scorers_of(recipe) for name in scorer.needs().values()}
    if isinstance(recipe.benchmark, Opposed) and recipe.benchmark.opponent != GOLD:
        needed[recipe.benchmark.opponent] = "benchmark.opponent"
    for name, use in (needed | dict.fromkeys(recipe.run.beside, "run.beside")).items():
        if name in NAMED:
            continue
        if is_model_name(name) and local_folder(name) is None:
            notes.append(f"{name} ({use}) is not on this machine; it is downloaded when it is needed")
        else:
            _find(recipe, name, use)
            if use == "run.beside":
                looked = look_at(recipe.engine, Model(name=name, path=name, fingerprint=""))
                notes += [f"{name} ({use}): {note}" for note in (*looked.tokenizer.notes, *looked.notes)]
        if use == "run.beside":
            notes.append(f"{name} is measured beside the policy at the end; its stages are not in the list")
    return notes


def estimated_lengths(recipe: Recipe, data: SeedData) -> SeedLengths:
    """Lengths of seeds without their tokenizer."""
    if is_hub_name(recipe.seed.path):
        how = f"assumed: seeds of {ASSUMED_PROMPT} tokens of prompt and {ASSUMED_ANSWER} of answer"
        return SeedLengths(prompt=ASSUMED_PROMPT, answer=ASSUMED_ANSWER, how=how)
    some = data.train[:LOOKED_AT]
    prompt = _mean([sum(about_tokens(message.content) for message in seed.messages) for seed in some])
    answer = _mean([about_tokens(seed.response) for seed in some])
    how = f"seeds have about {prompt:.0f} tokens of prompt and {answer:.0f} of answer ({CHARACTERS} characters each)"
    return SeedLengths(prompt=prompt, answer=answer, how=how)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _find(recipe: Recipe, name: str, use: str) -> None:
    try:
        recipe.engine.fingerprint(name)
    except ValueError as error:
        allowed = f"allowed: {', '.join(NAMED)}, a folder or a hub name"
        raise ValueError(f"{use}: {name!r} is not a model on this machine; {allowed} ({error})") from error


def _parameters(size: ModelSize) -> str:
    return f"{size.parameters / 1e9:g} billion parameters"
