"""What a machine's memory allows: all weights or an adapter, activations kept or computed again, rows of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from selfboost.plan.memory import ACTIVATIONS, cache_bytes, size_text
from selfboost.plan.model_size import ModelSize
from selfboost.system import total_memory

BYTES = 18
"""Host or device bytes per weight of a full training: weights, float32 masters, gradients, AdamW's moments."""
USABLE = 0.9
"""Share of the memory that weights, activations and caches may take."""
JUDGING = "judging answers by your own model, fine-tuned and not,"
SMALLER = "take a smaller model, or run the recipe where there is more"
SMALLER_JUDGE = "set scorer and benchmark.scorer to a smaller reward model, or to a judge behind a server"
CPU_ITERATIONS, GPU_ITERATIONS = 2, 4


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

    @property
    def dtype(self) -> str:
        """Of the weights."""
        return "bfloat16" if self.gpu else "float32"

    @property
    def width(self) -> int:
        """Bytes of a weight."""
        return 2 if self.gpu else 4


@dataclass(frozen=True, kw_only=True)
class Room:
    """How a model is trained and sampled on a machine."""

    adapter: bool
    """Whether an adapter alone is trained."""
    settings: Mapping[str, bool | int]
    """Path of a setting → value, where its default does not fit."""
    warnings: Sequence[str] = field(default=())


def room_for(size: ModelSize, machine: Machine, *, trained: int, sampled: int, rows: int, judging: int = 0) -> Room:
    """How a model fits on a machine.

    Args:
        size: the model
        machine: where it is trained and sampled
        trained: most tokens of a training's micro-batch
        sampled: most tokens of a sampled row, its prompt included
        rows: rows of a batch of samples, as the engine has them now
        judging: how many models of its size judge an answer together
    """
    usable, weights = USABLE * machine.memory, size.parameters * machine.width
    adapter = size.parameters * BYTES > machine.memory
    settings: dict[str, bool | int] = {}
    if (weights if adapter else size.parameters * BYTES) + _activations(size, machine, trained) > usable:
        settings["trainer.gradient_checkpointing"] = True
    row = cache_bytes(size, machine.width, 1, sampled)
    fitting = max(1, int((usable - weights) // row))
    if fitting < rows:
        settings["engine.batch_size"] = 1 << (fitting.bit_length() - 1)
    least = {
        "training the model, even by an adapter,": weights + _activations(size, machine, trained, again=True),
        "sampling a single answer": weights + row,
        JUDGING: judging * weights,
    }
    where = "the GPU" if machine.gpu else "this machine"
    return Room(
        adapter=adapter,
        settings=settings,
        warnings=[
            f"{work} takes about {size_text(round(needed))}, and {where} has "
            f"{size_text(machine.memory)}; {SMALLER_JUDGE if work == JUDGING else SMALLER}"
            for work, needed in least.items()
            if needed > usable
        ][:1],
    )


def _activations(size: ModelSize, machine: Machine, tokens: int, *, again: bool = False) -> int:
    """Bytes held for the backward pass of so many tokens. `again`: most are computed again instead."""
    layers = 2 * size.layers + ACTIVATIONS if again else ACTIVATIONS * size.layers
    return size.width * tokens * machine.width // 2 * layers
