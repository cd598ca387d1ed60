"""What a recipe will do and cost, found out by rehearsal: every stage, its rows, tokens, GPU hours, the memory.

Files, models, tokenizer, templates and scorers are looked at for real where they are on this machine; nothing is
downloaded and no weights are loaded. What is assumed is said.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfboost.data.hub_data import is_hub_name
from selfboost.data.seed_data import SeedData
from selfboost.methods.parts.synthetic_preferences import SyntheticPreferences
from selfboost.plan.cost import CHARACTERS, Cost, Costs, ScorerSize, SeedLengths
from selfboost.plan.memory import size_text, weight_bytes
from selfboost.plan.model_size import ModelSize, is_model_name, local_folder, model_size
from selfboost.plan.rehearsal import NAMED, REHEARSED, rehearse, scorers_of, with_stand_ins
from selfboost.recipe import Recipe
from selfboost.records import Model
from selfboost.scorers import Scorer, pairwise
from selfboost.train import Demanding

ASSUMED_PROMPT, ASSUMED_ANSWER = 200, 350
"""Tokens of a seed that is not on this machine: of the order of UltraFeedback's."""


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """One stage to come."""

    name: str
    verb: str
    rows: int
    """The most there can be."""
    mean: Cost
    """With sampled answers as long as the seed's."""
    most: Cost
    """With every sampled answer as long as it may be."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do."""

    stages: Sequence[PlannedStage]
    notes: Sequence[str]
    """Facts, warnings and assumptions, in sentences."""
    memory: Mapping[str, int | None]
    """Kind of work → bytes it holds at its peak, estimated; None where a model's size is unknown."""
    disk: int | None
    """Bytes of the models that are trained; None where their size is unknown."""
    disk_while_training: int | None
    """Bytes that a training with noise needs beside them until it ends; None where they are unknown."""


def plan(recipe: Recipe) -> Plan:
    """Check everything that can be checked without work, list the stages and estimate their costs.

    Raises:
        ValueError: what is wrong, in one sentence.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    data = with_stand_ins(recipe.seed, recipe.run.seed)
    notes = [*data.notes, *_seed_notes(recipe, data)]
    size, lengths, more = _look_at_model(recipe, data)
    scorers, unknown = _look_at_scorers(recipe, size)
    notes += [*more, lengths.how, *_look_at_other_models(recipe), *unknown, *_missing(recipe)]
    recipe.method.check(recipe, data.train)
    stages = rehearse(recipe, data)
    costs = Costs(recipe=recipe, stages=stages, lengths=lengths, model=size, scorers=scorers)
    memory = {
        "training": costs.training_memory(),
        "sampling": costs.sampling_memory(),
        "scoring": costs.scoring_memory(),
    }
    notes += _memory_notes(recipe, costs.noise_memory())
    planned = [
        PlannedStage(name=s.name, verb=s.verb, rows=s.rows, mean=costs.of(s, "mean"), most=costs.of(s, "most"))
        for s in stages
    ]
    kept = costs.disk_while_training()
    return Plan(stages=planned, notes=notes, memory=memory, disk=costs.disk(), disk_while_training=kept)


def _missing(recipe: Recipe) -> list[str]:
    """What the trainer lacks on this machine: the run may be for another."""
    try:
        if isinstance(recipe.trainer, Demanding):
            recipe.trainer.require(recipe.training)
    except ValueError as error:
        return [f"here the run would stop at once: {error}"]
    return []


def _memory_notes(recipe: Recipe, noise: int | None) -> list[str]:
    """On what several GPUs share, and on what noise on the reference takes of the memory."""
    notes: list[str] = []
    if getattr(recipe.trainer, "sharding", False):
        whole = " (all but the noise's)" if noise else ""
        spread = f"trainer.sharding spreads weights, gradients and optimiser{whole} over the GPUs"
        notes.append(f"{spread}: divide by their number")
    if noise:
        notes.append(f"{size_text(noise)} of the training memory are noise's, whose module is as large as the head")
    return notes


def _seed_notes(recipe: Recipe, data: SeedData) -> list[str]:
    assumed = "assumed: " if is_hub_name(recipe.seed.path) and not recipe.seed.limit else ""
    counts = f"{assumed}{len(data.train):,} seeds, {len(data.validation):,} validation, {len(data.held_out):,} held out"
    source = recipe.seed
    texts = (source.path, source.validation, source.held_out, getattr(recipe.method, "data", ""))
    named = {text for text in texts if isinstance(text, str) and is_hub_name(text)}
    notes = [f"{name} is read from the hub when the run starts; rehearsed with stand-ins" for name in sorted(named)]
    method = recipe.method
    if isinstance(method, SyntheticPreferences) and not method.once and method.prompts_from == "generator":
        for use, name in _prompt_sources(method, recipe.seed.path):
            notes.append(f"{name} ({use}) is read from the hub when the run starts; not looked at")
        if method.more_prompts:
            notes.append(f"where the filter leaves too few pairs, up to {method.more_prompts:.0%} more prompts come")
    return [counts, *notes]


def _prompt_sources(method: SyntheticPreferences, seed: str) -> list[tuple[str, str]]:
    """(use, name) of the hub data sets that new prompts come from or keep away from."""
    generator = method.generator
    keywords = ("paragraphs", generator.paragraphs) if generator.paragraphs else ("keywords of its prompts", seed)
    found = [keywords, *(("keep_away", name) for name in generator.novelty.keep_away)]
    return [(use, name) for use, name in found if is_hub_name(name)]


def _look_at_model(recipe: Recipe, data: SeedData) -> tuple[ModelSize | None, SeedLengths, list[str]]:
    """(size, mean lengths of the seed, notes) of the initial model; raises ValueError where it is no model."""
    path = recipe.model.location
    size = model_size(path)
    if is_model_name(path) and local_folder(path) is None:
        told = f"taken for {_parameters(size)} from its name" if size else "its size is unknown"
        note = f"{path} is not on this machine: {told}; it is downloaded when the run starts"
        return size, _lengths(recipe, data), [note]
    fingerprint = recipe.engine.fingerprint(path)
    tokenizer = recipe.engine.tokenizer(Model(name="initial", path=path, fingerprint=fingerprint))
    if is_hub_name(recipe.seed.path):
        return size, _lengths(recipe, data), list(tokenizer.notes)
    some = data.train[:REHEARSED]
    prompt = sum(len(tokenizer.prompt_ids(s.messages)) for s in some) / len(some)
    answer = sum(len(tokenizer.answer_ids(s.response)) for s in some) / len(some)
    how = f"seeds have {prompt:.0f} tokens of prompt and {answer:.0f} of answer (mean of {len(some)})"
    return size, SeedLengths(prompt=prompt, answer=answer, how=how), list(tokenizer.notes)


def _lengths(recipe: Recipe, data: SeedData) -> SeedLengths:
    """Of seeds without their tokenizer."""
    if is_hub_name(recipe.seed.path):
        how = f"assumed: seeds of {ASSUMED_PROMPT} tokens of prompt and {ASSUMED_ANSWER} of answer"
        return SeedLengths(prompt=ASSUMED_PROMPT, answer=ASSUMED_ANSWER, how=how)
    some = data.train[:REHEARSED]
    prompt = sum(len(m.content) for s in some for m in s.messages) / len(some) / CHARACTERS
    answer = sum(len(s.response) for s in some) / len(some) / CHARACTERS
    how = f"seeds have about {prompt:.0f} tokens of prompt and {answer:.0f} of answer ({CHARACTERS} characters each)"
    return SeedLengths(prompt=prompt, answer=answer, how=how)


def _look_at_scorers(recipe: Recipe, size: ModelSize | None) -> tuple[dict[bool, ScorerSize | None], list[str]]:
    """(measuring or not → the size of the scorer, notes)."""
    by_use = {False: recipe.scorer, True: next(iter(scorers_of(recipe.benchmark)), None)}
    found = {use: _scorer_size(scorer, recipe, size) for use, scorer in by_use.items()}
    if size is None or None not in found.values():
        return found, []
    return found, ["the size of a scorer's model is unknown: its scoring is left out of the GPU hours"]


def _scorer_size(scorer: Scorer | None, recipe: Recipe, size: ModelSize | None) -> ScorerSize | None:
    """Of all its models together; 0 for a scorer without any, None where one is unknown."""
    names = scorer.needs().values() if scorer else ()
    sizes = [size if name in NAMED else model_size(name) for name in names]
    known = [each.parameters for each in sizes if each is not None]
    if len(known) < len(sizes):
        return None
    width = weight_bytes(scorer if hasattr(scorer, "dtype") else recipe.trainer)
    return ScorerSize(parameters=sum(known), weight_bytes=width, pairwise=pairwise(scorer))


def _look_at_other_models(recipe: Recipe) -> list[str]:
    """Notes on the models of scorers and comparisons; raises ValueError where one is none."""
    notes: list[str] = []
    needed = {name: "scorer" for scorer in scorers_of(recipe) for name in scorer.needs().values()}
    for name, use in (needed | dict.fromkeys(recipe.run.beside, "run.beside")).items():
        if name in NAMED:
            continue
        if is_model_name(name) and local_folder(name) is None:
            notes.append(f"{name} ({use}) is not on this machine; it is downloaded when it is needed")
        else:
            _find(recipe, name, use)
        if use == "run.beside":
            notes.append(f"{name} is measured beside the policy at the end; its stages are not in the list")
    return notes


def _find(recipe: Recipe, name: str, use: str) -> None:
    try:
        recipe.engine.fingerprint(name)
    except ValueError as error:
        allowed = f"allowed: {', '.join(NAMED)}, a folder or a hub name"
        raise ValueError(f"{use}: {name!r} is no model that is here; {allowed} ({error})") from error


def _parameters(size: ModelSize) -> str:
    return f"{size.parameters / 1e9:g} billion parameters"
