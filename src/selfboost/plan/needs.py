"""What a plan needs beside time: memory of a device and of a machine, disk; and what would do where it does not fit.

Rough: the overhead of libraries is an assumed number, and fragments are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from selfboost.drift.passes import FOLDER
from selfboost.engines import Footprint as SamplerFootprint
from selfboost.engines import footprint_of as sampler_footprint
from selfboost.plan.cost import WORK, Costs, Lengths, at_length, rejected_tokens, trained_tokens
from selfboost.plan.memory import (
    cache_bytes,
    gathered_bytes,
    moments_of,
    noise_bytes,
    noise_of,
    size_text,
    training_bytes,
)
from selfboost.plan.model_size import ModelSize
from selfboost.plan.placement import OF_A_MACHINE, Placement
from selfboost.plan.rehearsal import Rehearsed
from selfboost.plan.texts import Tokens
from selfboost.train import Footprint

PROCESS = 3 * 2**30
"""Assumed bytes of host memory of a process with PyTorch, transformers and a GPU's driver."""
WRITTEN_AT_ONCE = 5_000_000_000
"""Largest file of a finished model, in bytes (`train/steps/checkpoints.py`)."""
RECORD_BYTES = 24
"""Bytes of a record for each token of prompt and answer, with its log-probability: 1,386 MiB for 100,000 answers of 200
and 400 tokens."""
STATES = 2
"""Saved states of a training on disk: the latest, and the one being written."""
MOST_GPUS = 1024
"""Largest number of GPUs that is tried."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Computes what a plan needs on its fleet."""

    placement: Placement

    @property
    def costs(self) -> Costs:
        """The plan's stages and models."""
        return self.placement.costs

    def training(self, shards: int | None = None) -> int | None:
        """Bytes that the largest training holds on one device; None if the model's size is unknown.

        `shards`: the number of devices that weights are spread over, the placement's own if not given.
        """
        trainings = [found.stage for found in self.costs.stages if found.stage.training]
        if self.costs.model is None or not trainings:
            return None
        held, size = self._held(shards), self.costs.model
        return max(training_bytes(size, s, held) + noise_bytes(size, s, held) for s in trainings)

    def noise(self) -> int | None:
        """Bytes that noise adds to a training on each device, 0 without noise; None if V and D are unknown."""
        size, held = self.costs.model, self._held()
        if size is None:
            return None
        return max((noise_bytes(size, found.stage, held) for found in self.costs.stages), default=0)

    def sampling(self) -> int | None:
        """Bytes of weights and key-value cache on one device, with every row of a batch at maximum length.

        Under continuous batching, of one row: the engine takes as many as fit.
        """
        held = sampler_footprint(self.costs.recipe.engine)
        longest = self._longest()
        if self.costs.model is None or longest is None:
            return None
        return 0 if held.batching == "none" else round(_sampler_bytes(self.costs.model, held, longest))

    def scoring(self) -> int | None:
        """Bytes of the largest scorer's models, and of the cache of one that samples; None as above.

        The comparison of sampler and trainer, for which the trainer opens the policy, counts as scoring.
        """
        held = [self._scorer_bytes(stage) for stage in self._scored()]
        known = [size for size in held if size is not None]
        return max(*known, self._compared(), 0) if len(known) == len(held) else None

    def host(self) -> int | None:
        """Bytes of host memory on the machine that needs most: its processes, and what they hold of the weights.

        Without shards each process opens the model. With shards each opens its part, with a layer or the embeddings
        at a time in float32, and one process writes the finished model, a file's worth in memory at a time. Engines
        that keep a base while they sleep end before a training.
        """
        if self.costs.model is None:
            return None
        if (pace := self.costs.pace) is not None:
            training, *beside = (0, 0, 0) if pace.gpu else (self.training(), self.sampling(), self.scoring())
            other = max(size or 0 for size in beside)
            own = max(pace.process + max(training or 0, other), 0 if pace.gpu else pace.peak)
            return own + (pace.processes - 1) * (pace.process + other)
        here, held, size = min(OF_A_MACHINE, self.placement.trains_on), self._held(), self.costs.model
        weights = size.parameters * held.weight_bytes
        opened = max(here * gathered_bytes(size), min(weights, WRITTEN_AT_ONCE)) if held.shards > 1 else here * weights
        return PROCESS * (1 + here) + max(opened, self._kept(size))

    def models(self) -> int | None:
        """Bytes on disk of all trained models."""
        trained = sum(found.stage.training is not None for found in self.costs.stages)
        size = self.costs.model
        return size.parameters * self.costs.trainer.weight_bytes * trained if size else None

    def records(self) -> int:
        """Bytes on disk of answers, and of the examples and pairs that are trained on."""
        return round(RECORD_BYTES * sum(_stored_tokens(found.stage) * found.rows for found in self.costs.stages))

    def states(self) -> int | None:
        """Bytes on disk of the saved states of the largest training: masters and moments."""
        if self.costs.model is None:
            return None
        trainings = [found.stage.training for found in self.costs.stages if found.stage.training]
        each = max((0 if t.lora_rank else 4 + moments_of(t) for t in trainings), default=0)
        return STATES * each * self.costs.model.parameters

    def noise_states(self) -> int | None:
        """Bytes on disk of the hidden states that a training with noise keeps of rejected answers, 0 without noise."""
        stages = self.costs.stages
        most = max((s.rows * rejected_tokens(s.stage, "most") for s in stages if noise_of(s.stage)), default=0)
        size = self.costs.model
        return round(most * size.width * self.costs.trainer.weight_bytes) if size else None

    def misfits(self) -> list[str]:
        """A sentence for each kind of work that does not fit on a device, with what would do."""
        found = {"training": self.training(), "sampling": self.sampling(), "scoring": self.scoring()}
        remedies = {
            "training": self._smaller_training,
            "sampling": self._smaller_sampling,
            "scoring": self._smaller_scoring,
        }
        device = self.placement.fleet.hardware
        return [
            f"{work} needs {size_text(size)} of memory on a device, and {device.name} has {size_text(device.memory)}: "
            f"{remedies[work]()}"
            for work, size in found.items()
            if size is not None and size > device.memory
        ]

    def _kept(self, size: ModelSize) -> int:
        """Bytes that a machine's engines keep in host memory while they sleep."""
        held = sampler_footprint(self.costs.recipe.engine)
        engines = min(self.placement.replicas, OF_A_MACHINE // held.gpus) or 1
        return engines * size.parameters * held.weight_bytes if held.kept else 0

    def _held(self, shards: int | None = None) -> Footprint:
        """The trainer's footprint, with the number of shards that the placement makes of it."""
        held, devices = self.costs.trainer, self.placement.trains_on
        wanted = shards or (min(held.shards, devices) if held.shards else devices)
        return replace(held, shards=wanted)

    def _smaller_training(self) -> str:
        room, size = self.placement.fleet.hardware.memory, self.costs.model
        assert size is not None, "a size is known"
        fitting = ((shards, self.training(shards)) for shards in _doubling(2))
        spread = next(((shards, needed) for shards, needed in fitting if needed and needed <= room), None)
        ways = [f"trainer.sharding = true over {spread[0]} GPUs fits ({size_text(spread[1])})"] if spread else []
        if size.parameters * self.costs.trainer.weight_bytes < 0.8 * room:
            ways.append("training.lora_rank = 16 takes little more than the weights")
        return "; ".join(ways) or "set trainer.gradient_checkpointing = true or a smaller training.max_length"

    def _smaller_sampling(self) -> str:
        size, longest = self.costs.model, self._longest()
        held, room = sampler_footprint(self.costs.recipe.engine), self.placement.fleet.hardware.memory
        assert size is not None, "a size is known"
        assert longest is not None, "something is sampled"
        if held.batching == "steps":
            rows = [r for r in reversed(list(_doubling(1))) if r < held.rows]
            fitting = (r for r in rows if _sampler_bytes(size, replace(held, rows=r), longest) <= room)
            if (fewer := next(fitting, None)) is not None:
                return f"engine.batch_size = {fewer} fits"
        spread = (n for n in _doubling(2) if size.parameters * held.weight_bytes / n < 0.8 * room)
        return f"the weights need an engine that spreads them over {next(spread, MOST_GPUS)} GPUs (tensor parallelism)"

    def _smaller_scoring(self) -> str:
        room, own = self.placement.fleet.hardware.memory, self.costs.recipe.scorer
        large = [stage for stage in self._scored() if (self._scorer_bytes(stage) or 0) > room]
        panel = [stage for stage in large if f"{FOLDER}/" in stage.name and stage.scorer != own]
        ways: list[str] = []
        if len(large) > len(panel):
            ways.append(
                "a scorer's model is held on one GPU; choose a smaller one, or a judge behind a server (api_judge)"
            )
        if panel:
            ways.append("run.drift.prompts = 0 leaves out the log-probabilities of the drift panel")
        if self._compared() > room:
            ways.append(
                "run.agreement = 0 leaves out the comparison of sampler and trainer (the guard against stale weights)"
            )
        return "; ".join(ways)

    def _scored(self) -> list[Rehearsed]:
        return [found.stage for found in self.costs.stages if found.stage.verb == "score"]

    def _compared(self) -> int:
        """Bytes of a trained policy that the trainer opens to compare its log-probabilities with the sampler's."""
        trains = any(found.stage.training for found in self.costs.stages)
        size = self.costs.model if trains and self.costs.recipe.run.agreement else None
        return size.parameters * self.costs.trainer.weight_bytes if size else 0

    def _longest(self) -> float | None:
        """Most tokens of a row of prompt and answer; None if nothing is sampled."""
        sampled = [found.stage for found in self.costs.stages if found.stage.sampling]
        return max((stage.asked.most + stage.answers[0].most for stage in sampled), default=None)

    def _scorer_bytes(self, stage: Rehearsed) -> int | None:
        """Bytes of a scorer's weights and of its cache, with every row at maximum length."""
        work, sizes = self.costs.work(stage, "most"), self.costs.sizes(stage)
        if sizes is None:
            return None
        width = self.costs.trainer.weight_bytes if work.weight_bytes is None else work.weight_bytes
        rows = 1 if work.batching == "continuous" and work.rows else work.rows
        return round(sum(s.parameters * width + cache_bytes(s, width, rows, work.longest) for s in sizes))


def _doubling(start: int) -> Iterator[int]:
    """1, 2, 4 … from a start."""
    while start <= MOST_GPUS:
        yield start
        start *= 2


def _sampler_bytes(size: ModelSize, held: SamplerFootprint, longest: float) -> float:
    """Bytes on each of the devices that hold one copy of the model."""
    rows = 1 if held.batching == "continuous" else held.rows
    whole = size.parameters * held.weight_bytes + cache_bytes(size, held.weight_bytes, rows, longest)
    return whole / held.gpus


def _stored_tokens(stage: Rehearsed, at: Lengths = "mean") -> float:
    """Tokens of one stored row: an answer with its prompt, an example or a pair."""
    if stage.training:
        return trained_tokens(stage, at)
    stored: Sequence[Tokens] = (stage.asked, *stage.answers) if WORK.get(stage.verb) == "sampling" else ()
    return sum(at_length(text, at) for text in stored)
