"""Which of the reserved GPUs a stage keeps busy, and so how long it takes: GPUs are held for the whole wall time.

Several GPUs are assumed to share a stage's work without loss. A stage also opens its model once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

from selfboost.engines import footprint_of as sampler_footprint
from selfboost.pace import MeasuredPace
from selfboost.plan.cost import WORK, Costs
from selfboost.plan.hardware import USUAL, Hardware, hardware
from selfboost.plan.rows import Rows
from selfboost.recipe import Recipe
from selfboost.train import footprint_of as trainer_footprint

OF_A_MACHINE = 8
"""GPUs that a machine is assumed to have."""
READ_PER_SECOND = 2e9
"""Bytes of a checkpoint read per second: assumed of a local NVMe disk."""
ENGINE_START = 60.0
"""Seconds that an engine with continuous batching is assumed to take until its first token."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The GPUs reserved for a run."""

    hardware: Hardware
    gpus: int

    @property
    def machines(self) -> int:
        """Machines that have them."""
        return math.ceil(self.gpus / OF_A_MACHINE)


def fleet_for(recipe: Recipe, kind: str = "", gpus: int = 0) -> Fleet:
    """The named kind and number of GPUs, or what a plan assumes: the usual kind, and as many as the recipe can use.

    Raises:
        ValueError: there is no such kind.
    """
    devices = trainer_footprint(recipe.trainer).devices or OF_A_MACHINE
    wanted = max(devices, _replicas(recipe) * sampler_footprint(recipe.engine).gpus)
    return Fleet(hardware=hardware(kind or USUAL), gpus=gpus or wanted)


def _replicas(recipe: Recipe) -> int:
    """Copies of a model that sample or score at once."""
    return cast(int, getattr(recipe.cluster, "replicas", 1)) or 1


def measured_fleet(pace: MeasuredPace) -> Fleet:
    """This machine, as measured: one device, whose speed is not derived from a data sheet."""
    device = replace(hardware(USUAL), name=pace.machine, memory=pace.memory, source="measured", basis="measured")
    return Fleet(hardware=device, gpus=1)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Places a plan's stages on a fleet."""

    costs: Costs
    fleet: Fleet

    def gpus(self, found: Rows) -> int:
        """How many GPUs a stage keeps busy; 0 if its work is elsewhere. All measured work is done by one."""
        return 1 if self.costs.pace is not None else min(self.fleet.gpus, self._wanted(found))

    def opening(self, found: Rows) -> float:
        """Hours until a stage's model is open; 0 where the measured hours contain them."""
        if not self.gpus(found) or self.costs.pace is not None:
            return 0.0
        stage, engine = found.stage, sampler_footprint(self.costs.recipe.engine)
        sizes = self.costs.sizes(stage) if stage.scorer else [self.costs.model] if self.costs.model else None
        starting = stage.verb == "sample" and engine.batching == "continuous"
        read = sum(size.parameters for size in sizes or ()) * engine.weight_bytes / READ_PER_SECOND
        return ((ENGINE_START if starting else 0.0) + read) / 3600

    @property
    def replicas(self) -> int:
        """Copies of a model that sample or score at once."""
        return _replicas(self.costs.recipe)

    @property
    def trains_on(self) -> int:
        """GPUs of a training."""
        return min(self.fleet.gpus, self.costs.trainer.devices or self.fleet.gpus)

    def _wanted(self, found: Rows) -> int:
        recipe, work = self.costs.recipe, WORK.get(found.stage.verb)
        engine = sampler_footprint(recipe.engine)
        if work == "training":
            return self.trains_on
        if work == "sampling":
            return 0 if engine.batching == "none" else engine.gpus * self.replicas
        return self.replicas if work == "scoring" and found.stage.judges else 0
