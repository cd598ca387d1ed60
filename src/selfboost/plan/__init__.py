"""What a recipe will do and cost, found by rehearsal: every stage with its rows, tokens, time and memory.

Files, models, tokenizer, templates and scorers are really opened if they are on this machine; nothing is downloaded and
no weights are loaded. Assumptions are stated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfboost.data.hub_data import is_hub_name
from selfboost.data.seed_data import SeedData
from selfboost.extras import frame
from selfboost.pace import MeasuredPace
from selfboost.plan.advice import Advice
from selfboost.plan.cost import Cost, Costs, judge_sizes
from selfboost.plan.judges import report_notes, server_notes
from selfboost.plan.memory import size_text
from selfboost.plan.models import look_at_model, look_at_other_models
from selfboost.plan.needs import Needs
from selfboost.plan.offline import offline
from selfboost.plan.overlap import shared_words
from selfboost.plan.placement import Fleet, Placement, fleet_for, measured_fleet
from selfboost.plan.power import power_note
from selfboost.plan.rehearsal import Rehearsed
from selfboost.plan.rows import Bound, Rows, stages_of
from selfboost.plan.stand_ins import planned_seeds
from selfboost.recipe import Recipe
from selfboost.train import Demanding

MeasurePace = Callable[[Recipe, int | None], MeasuredPace | str]
"""Measures a recipe's pace here, or says why not; also given the model's parameters, None if it is not here."""


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """A planned stage."""

    name: str
    kind: str
    """What stages like it are called, whatever their iteration: `drafts`, `policy`, `measuring: sample` ..."""
    verb: str
    rows: int
    bound: Bound
    """Whether the number of rows is exact, an upper bound, or approximate because it depends on the answers."""
    mean: Cost
    """With sampled answers as long as the seed's."""
    most: Cost
    """With every sampled answer as long as it may be."""
    gpus: int
    """How many GPUs it keeps busy."""
    opening: float
    """Hours until its model is open."""

    def wall(self, cost: Cost) -> float | None:
        """Hours that it takes at a cost of its own; None if a model's size is unknown."""
        if cost.hours is None:
            return None
        return cost.hours / self.gpus + self.opening if self.gpus else 0.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do."""

    stages: Sequence[PlannedStage]
    warnings: Sequence[str]
    """What will go wrong, or make the results worth little, each with what to change."""
    notes: Sequence[str]
    """Facts and assumptions, in sentences."""
    fleet: Fleet
    """The GPUs, or the measured machine, that it is planned for."""
    pace: MeasuredPace | None
    """What the hours were measured by; None: they are estimated for the fleet."""
    memory: Mapping[str, int | None]
    """Kind of work → estimated peak bytes of one GPU; None if a model's size is unknown."""
    misfits: Sequence[str]
    """What does not fit on one of these GPUs, and what would do."""
    host_memory: int | None
    """Estimated peak bytes of a machine's own memory; None if the model's size is unknown."""
    disk: int | None
    """Bytes of the trained models; None if their size is unknown."""
    disk_records: int
    """Bytes of answers, examples and pairs."""
    disk_states: int | None
    """Bytes of a training's saved states, until it ends; None if unknown."""
    disk_while_training: int | None
    """Additional bytes that a training with noise needs until it ends; None if unknown."""

    def to_pandas(self) -> Any:
        """A data frame with a row for each stage.

        Columns: name, kind, verb, rows, bound, gpus, tokens, hours, most_tokens, most_hours; `most_` with every answer
        as long as it may be.

        Raises:
            ValueError: pandas is not installed.
        """
        names = ("name", "kind", "verb", "rows", "bound", "gpus")
        return frame(
            [
                {name: getattr(stage, name) for name in names}
                | {"tokens": stage.mean.tokens, "hours": stage.wall(stage.mean)}
                | {"most_tokens": stage.most.tokens, "most_hours": stage.wall(stage.most)}
                for stage in self.stages
            ]
        )


def plan(recipe: Recipe, fleet: Fleet | None = None, measure: MeasurePace | None = None) -> Plan:
    """Check everything that can be checked without running, list the stages and estimate their costs.

    On a fleet, by default the recipe's own, or on this machine at the pace that `measure` finds. It is asked once
    all files, models and settings have been looked at.

    Raises:
        ValueError: what is wrong, in one sentence.
    """
    with offline():
        data = planned_seeds(recipe.seed, recipe.run.seed)
        size, lengths, more = look_at_model(recipe, data)
        notes = [*data.notes, *_seed_notes(recipe, data), *more, lengths.how, *look_at_other_models(recipe)]
        notes += [*shared_words(recipe, data), *_missing(recipe)]
        recipe.method.check(recipe, data.train)
        notes += server_notes(recipe)
        measured = measure(recipe, size.parameters if size and size.counted else None) if measure else None
        pace = measured if isinstance(measured, MeasuredPace) else None
        notes += [f"not measured here: {measured}"] if isinstance(measured, str) else []
        stages = stages_of(recipe, data, lengths.prompt, lengths.answer, pace.answer if pace else None)
        judges = judge_sizes(stages)
        warnings = report_notes(recipe, [found.stage.scorer for found in stages])
    fleet = measured_fleet(pace) if pace else fleet or fleet_for(recipe)
    costs = Costs(recipe=recipe, stages=stages, model=size, judges=judges, hardware=fleet.hardware, pace=pace)
    warnings += Advice(costs=costs, context=lengths.context).warnings()
    return _priced(Placement(costs=costs, fleet=fleet), warnings, notes)


def _priced(placement: Placement, warnings: Sequence[str], notes: Sequence[str]) -> Plan:
    """The plan of stages whose costs and places are known."""
    needs, costs = Needs(placement=placement), placement.costs
    return Plan(
        stages=[_planned(found, placement) for found in costs.stages],
        warnings=warnings,
        notes=[*notes, *_cost_notes(costs), *_memory_notes(needs)],
        fleet=placement.fleet,
        pace=costs.pace,
        memory={"training": needs.training(), "sampling": needs.sampling(), "scoring": needs.scoring()},
        misfits=needs.misfits(),
        host_memory=needs.host(),
        disk=needs.models(),
        disk_records=needs.records(),
        disk_states=needs.states(),
        disk_while_training=needs.noise_states(),
    )


def _planned(found: Rows, placement: Placement) -> PlannedStage:
    return PlannedStage(
        name=found.stage.name,
        kind=_kind(found.stage),
        verb=found.stage.verb,
        rows=found.rows,
        bound=found.bound,
        mean=placement.costs.of(found, "mean"),
        most=placement.costs.of(found, "most"),
        gpus=placement.gpus(found),
        opening=placement.opening(found),
    )


def _kind(stage: Rehearsed) -> str:
    if stage.measuring or stage.verb == "measure":
        return f"measuring: {stage.verb}"
    return f"drift: {stage.verb}" if "/drift/" in stage.name else stage.name.rpartition("/")[2]


def _missing(recipe: Recipe) -> list[str]:
    """What the trainer lacks on this machine; the run may be meant for another."""
    try:
        if isinstance(recipe.trainer, Demanding):
            recipe.trainer.require(recipe.training)
    except ValueError as error:
        return [f"this machine cannot run the recipe: {error}"]
    return []


def _cost_notes(costs: Costs) -> list[str]:
    """Notes on what the hours leave out."""
    notes: list[str] = []
    if requests := costs.requests():
        notes.append(f"about {requests:,} requests to servers, beside what a judge must be asked twice")
    if costs.unknown_scorers():
        notes.append("the size of a scorer's model is unknown: its scoring is left out of the times")
    return notes


def _memory_notes(needs: Needs) -> list[str]:
    """Notes on what several GPUs share, how much memory noise on the reference takes, and several machines."""
    notes: list[str] = []
    noise, devices, fleet = needs.noise(), needs.placement.trains_on, needs.placement.fleet
    if needs.costs.trainer.shards != 1 and devices > 1:
        whole = " (all but the noise's)" if noise else ""
        notes.append(f"trainer.sharding spreads weights, gradients and optimiser{whole} over {devices} GPUs")
    if noise:
        notes.append(f"{size_text(noise)} of the training memory are noise's, whose module is as large as the head")
    if fleet.machines > 1:
        notes.append(f"a training on {fleet.machines} machines is started by torchrun: selfboost launch slurm RECIPE")
    return notes


def _seed_notes(recipe: Recipe, data: SeedData) -> list[str]:
    """Notes on the number of seeds, on hub data, and from the method."""
    source = recipe.seed
    assumed = "assumed: " if is_hub_name(source.path) and not source.limit else ""
    counts = f"{assumed}{len(data.train):,} seeds, {len(data.validation):,} validation, {len(data.held_out):,} held out"
    named = {text for text in (source.path, source.validation, source.held_out) if isinstance(text, str)}
    notes = [
        f"{name} is read from the hub when the run starts; rehearsed with stand-ins"
        for name in sorted(filter(is_hub_name, named))
    ]
    notes += [
        f"{name} ({use}) is read from the hub when the run starts; not looked at"
        for name, use in recipe.method.reads(source.path).items()
        if is_hub_name(name)
    ]
    return [counts, power_note(recipe, data), *notes, *recipe.method.remarks()]
