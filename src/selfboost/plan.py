"""What a recipe will do, found out by rehearsal: the true loop runs on fake models and a small share of the counts.

Files, model, tokenizer, templates and scorers are looked at for real; weights are not loaded and nothing is downloaded.
Token counts are bounds or means, memory is an estimate; both say so.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_type_hints

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from selfboost import store
from selfboost.engines.fake import Fake as FakeEngine
from selfboost.loop import boost
from selfboost.prompt_generator import PromptGenerator
from selfboost.recipe import EMBEDDED, ROLES, ModelSource, Recipe
from selfboost.records import Model
from selfboost.scorers import Scorer
from selfboost.scorers.implicit import Implicit
from selfboost.seed_data import SeedData, load_seed_data
from selfboost.seed_models import MAKERS
from selfboost.setting_types import Count
from selfboost.stages import Silent
from selfboost.train.fake import Fake as FakeTrainer

NAMED = ("initial", "previous", *MAKERS)
"""Models a run has or makes by itself."""
REHEARSED = 200
"""Most prompts of a kind in the rehearsal."""
OPEN = -1e9
"""A threshold that keeps all and, other than -inf, still has everything scored."""
BYTES_PER_TRAINED_PARAMETER = 16
"""Weight, gradient and AdamW's two moments in float32 (bfloat16 weights with a float32 master come to the same)."""


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """One stage to come."""

    name: str
    verb: str
    rows: int
    tokens: int
    """Sampling: at most. Training: examples times the seed's mean length times epochs."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do."""

    stages: Sequence[PlannedStage]
    notes: Sequence[str]
    """Warnings and facts, in sentences."""
    peak_memory_bytes: int | None
    """Estimate for training; None where the model's size is unknown."""


def plan(recipe: Recipe) -> Plan:
    """Check everything that can be checked without work, and list the stages.

    Raises:
        ValueError: what is wrong, in one sentence.
    """
    data = load_seed_data(recipe.seed, recipe.run.seed)
    notes, parameters, mean_tokens = _look_at_model(recipe, data)
    notes += _look_at_other_models(recipe)
    seeds = data.train
    recipe.method.check(recipe, seeds)
    scale = max(1.0, max([len(seeds), *_counts(recipe.method)]) / REHEARSED)
    limit = math.ceil(len(seeds) / scale)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        boost(_rehearsal(recipe, scale, limit), root, Silent())
        stages = [_planned(c, {limit: len(seeds)}.get(c.rows, c.rows * scale), mean_tokens) for c in store.cards(root)]
    memory = BYTES_PER_TRAINED_PARAMETER * parameters if parameters else None
    return Plan(stages=stages, notes=notes, peak_memory_bytes=memory)


def _look_at_model(recipe: Recipe, data: SeedData) -> tuple[list[str], int, float]:
    """(notes, parameters, mean tokens of a seed's prompt and answer); zeros where the model is not on this machine."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    path = recipe.model.location
    notes = [*data.notes, f"{len(data.train)} seeds, {len(data.validation)} validation, {len(data.held_out)} held out"]
    try:
        fingerprint = recipe.engine.fingerprint(path)
    except ValueError:
        if not _looks_like_hub_name(path):
            raise
        return [*notes, f"{path} is not on this machine; it is downloaded when the run starts"], 0, 0.0
    tokenizer = recipe.engine.tokenizer(Model(name="initial", path=path, fingerprint=fingerprint))
    some = data.train[:REHEARSED]
    lengths = [len(tokenizer.prompt_ids(s.messages)) + len(tokenizer.answer_ids(s.response)) for s in some]
    return [*notes, *tokenizer.notes], _parameters(Path(path)), sum(lengths) / len(lengths)


def _look_at_other_models(recipe: Recipe) -> list[str]:
    notes: list[str] = []
    needed = {name: "scorer" for scorer in _scorers(recipe) for name in scorer.needs().values()}
    for name, use in (needed | dict.fromkeys(recipe.run.beside, "run.beside")).items():
        if name not in NAMED:
            try:
                recipe.engine.fingerprint(name)
            except ValueError:
                if not _looks_like_hub_name(name):
                    raise
                notes.append(f"{name} ({use}) is not on this machine; it is downloaded when it is needed")
    return notes


def _looks_like_hub_name(path: str) -> bool:
    return path.count("/") == 1 and not path.startswith((".", "/", "~"))


def _parameters(folder: Path) -> int:
    """Parameters of a checkpoint, from the headers of its safetensors files."""
    count = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        count += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return count


def _hints(component: Any) -> list[tuple[str, Any]]:
    return list(get_type_hints(component.__class__, include_extras=True).items())


def _scorers(component: Any) -> list[Scorer]:
    found: list[Scorer] = []
    for name, hint in _hints(component):
        value = getattr(component, name)
        if ROLES.get(hint) == "scorer":
            found.append(value)
        elif is_dataclass(value):
            found += _scorers(value)
    return found


def _counts(component: Any) -> list[int]:
    counts: list[int] = []
    for name, hint in _hints(component):
        value = getattr(component, name)
        counts += [value] if hint == Count else _counts(value) if is_dataclass(value) else []
    return counts


def _rehearsal(recipe: Recipe, scale: float, limit: int) -> Recipe:
    """The same recipe on fakes, its counts scaled down, its filters open: the plan is the most that can happen."""
    return replace(
        recipe,
        run=replace(recipe.run, beside=tuple(name for name in recipe.run.beside if name in NAMED)),
        model=ModelSource(path="fake"),
        seed=replace(recipe.seed, limit=limit),
        method=_opened(recipe.method, scale),
        scorer=_opened_scorer(recipe.scorer),
        benchmark=_opened(recipe.benchmark, scale),
        gate=replace(recipe.gate, rule="always"),
        engine=FakeEngine(limits=False),
        trainer=FakeTrainer(),
    )


def _opened(component: Any, scale: float) -> Any:
    changes: dict[str, Any] = {}
    for name, hint in _hints(component):
        value = getattr(component, name)
        if hint == Count:
            changes[name] = math.ceil(value / scale)
        elif ROLES.get(hint) == "scorer":
            changes[name] = _opened_scorer(value)
        elif name == "threshold":
            changes[name] = OPEN if value is None else min(value, OPEN)
        elif is_dataclass(value):
            changes[name] = _opened(value, scale)
    if isinstance(component, PromptGenerator):
        # The true pool was looked at; a few seeds' own words would not do. Fakes know the default format alone.
        own = PromptGenerator()
        changes |= {"paragraphs": EMBEDDED, "template": own.template, "target": own.target}
        changes |= {"prefix": own.prefix, "question": own.question, "longest": own.longest}
    return replace(component, **changes)


def _opened_scorer(scorer: Scorer) -> Scorer:
    """The scorer itself where the run makes its models, so that their training is in the plan; else a free one."""
    own = scorer.needs() and all(name in NAMED for name in scorer.needs().values())
    return _opened(scorer, 1) if own else Implicit(policy="previous", reference="initial", threshold=-math.inf)


def _planned(card: store.StageCard, scaled: float, mean_tokens: float) -> PlannedStage:
    """A stage of the rehearsal as it will be; `scaled` is its rows unless it measures, where nothing is scaled."""
    measured = any(split in card.name for split in ("validation", "held_out"))
    rows = card.rows if measured else round(scaled)
    tokens = 0
    if card.verb == "sample":
        tokens = rows * card.parts["sampling"]["max_tokens"]
    elif "training" in card.parts:
        sides = 2 if card.verb == "prefer" else 1
        tokens = round(rows * mean_tokens * sides * card.parts["training"]["epochs"])
    return PlannedStage(name=card.name, verb=card.verb, rows=rows, tokens=tokens)


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def print_plan(recipe: Recipe) -> None:
    """Print the plan of a recipe."""
    found = plan(recipe)
    table = Table(box=None, pad_edge=False)
    table.add_column("stage", overflow="fold")
    table.add_column("verb")
    table.add_column("rows", justify="right")
    table.add_column("tokens", justify="right")
    for stage in found.stages:
        table.add_row(escape(stage.name), stage.verb, f"{stage.rows:,}", f"{stage.tokens:,}" if stage.tokens else "")
    console = Console(highlight=False)
    console.print(table)
    for note in found.notes:
        console.print(f"- {escape(note)}")
    memory = found.peak_memory_bytes
    console.print(
        f"Training: about {_size(memory)} for weights, gradients and optimiser, activations not counted."
        if memory
        else "Training memory: unknown until the model is here."
    )
    console.print("Rows are the most there can be; tokens are bounds for sampling, means of the seed for training.")
    console.print("The recipe is complete and fits together.")
