"""A recipe made small for a trial: few prompts, seeds, pairs and samples, and short trainings; all else stays."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, get_type_hints

from selfboost.method import Triable
from selfboost.recipe import Recipe
from selfboost.setting_types import is_count
from selfboost.train import Training, footprint_of

SEEDS_PER_PROMPT = 2
"""Training seeds of a trial for each of its prompts."""
MEASURED = 2
"""Validation prompts of a trial, and held-out ones."""
MOST_SAMPLES = 5
"""Answers per prompt of a method; ..."""
MEASURED_SAMPLES = 1
"""... and of a benchmark."""
BATCH = 4
"""Examples per optimiser step, so that few seeds give several steps."""
AFFORDABLE = 24e9
"""Weights times examples that one training of a trial may cost: seconds on a GPU, or for a small model."""
MOST_PASSES = 6
"""Over the trial's seeds: more would be learning them by heart."""
SAMPLES, LIMIT = "samples", "limit"
"""Settings that say how many answers a prompt has, and how many items a benchmark uses (0 = all)."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How small a trial is."""

    prompts: int
    """Of an iteration; as many pairs."""
    all_seeds: int
    """Training seeds of the run itself."""
    parameters: int = 0
    """Weights of the model, 0 if unknown."""
    devices: int = 1
    """On which a training runs: no batch may be smaller."""

    @property
    def seeds(self) -> int:
        """Training seeds of the trial."""
        return min(self.all_seeds, SEEDS_PER_PROMPT * self.prompts)

    @property
    def examples(self) -> float:
        """How many examples one training may see."""
        return max(self.seeds, AFFORDABLE / self.parameters) if self.parameters else self.seeds


def reduced(recipe: Recipe, scale: Scale, *, new_prompts: bool = True) -> Recipe:
    """One iteration of the recipe on a few prompts; without `new_prompts` on those of the seed, if the method can.

    Trainings on the seed see as many examples as in the run, as far as that is cheap.

    Raises:
        ValueError: a component refuses such counts.
    """
    scale = replace(scale, devices=max(1, footprint_of(recipe.trainer).devices))
    method = _smaller(recipe.method, scale, MOST_SAMPLES)
    if isinstance(method, Triable):
        method = method.for_trial(new_prompts=new_prompts)
    return replace(
        recipe,
        run=replace(recipe.run, iterations=1, beside=(), drift=replace(recipe.run.drift, prompts=0)),
        gate=replace(recipe.gate, largest_divergence=0.0),
        method=method,
        benchmark=_with_few_items(_smaller(recipe.benchmark, scale, MEASURED_SAMPLES), scale),
        training=_shorter(recipe.training, scale, scale.prompts, recipe.training.epochs),
        seed_models=_smaller(recipe.seed_models, scale, MOST_SAMPLES),
    )


def _smaller(component: Any, scale: Scale, samples: int) -> Any:
    """The component with small counts and short trainings, its parts too."""
    hints = get_type_hints(component.__class__, include_extras=True)
    changes: dict[str, Any] = {}
    for f in fields(component):
        value: Any = getattr(component, f.name)
        if isinstance(value, Training):
            wanted = scale.all_seeds * value.epochs / scale.seeds
            changes[f.name] = _shorter(value, scale, scale.seeds, min(wanted, MOST_PASSES))
        elif is_dataclass(value):
            changes[f.name] = _smaller(value, scale, samples)
        elif is_count(hints[f.name]):
            changes[f.name] = min(value, scale.prompts)
        elif f.name == SAMPLES and isinstance(value, int):
            changes[f.name] = min(value, samples)
    return _replaced(component, changes)


def _replaced(component: Any, changes: dict[str, Any]) -> Any:
    """The component with these settings, or as it is where it refuses them."""
    changed = {name: value for name, value in changes.items() if value is not getattr(component, name)}
    try:
        return replace(component, **changed) if changed else component
    except ValueError:
        return component


def _with_few_items(benchmark: Any, scale: Scale) -> Any:
    """A benchmark with items of its own uses a few of them."""
    limit = getattr(benchmark, LIMIT, None)
    if not isinstance(limit, int):
        return benchmark
    few = SEEDS_PER_PROMPT * scale.prompts
    return _replaced(benchmark, {LIMIT: min(limit, few) if limit else few})


def _shorter(training: Training, scale: Scale, rows: int, passes: float) -> Training:
    """A training of at most so many passes over so many rows, as many of them as are cheap."""
    epochs = min(passes, max(1.0, scale.examples / rows))
    return replace(
        training,
        batch_size=min(training.batch_size, max(BATCH, scale.devices)),
        epochs=epochs,
        stop_after=min(training.stop_after, epochs),
    )
