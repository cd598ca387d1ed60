"""What the trainer `local` may be told: number type, devices, memory, saved states, trackers.

Apart from the trainer itself, so that everything below it can be given these settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from selfboost.engines.checkpoint import DeviceName, DTypeName, bytes_of
from selfboost.setting_types import Name, NotNegative, Several, SeveralOrNone, Tokens
from selfboost.train import SPEED_ONLY, Footprint

AttentionName = Literal["auto", "blocks", "rows", "flex"]
"""Matrix products over blocks of queries; PyTorch's fused attention on padded rows; FlexAttention. `auto`: rows on a
GPU where the model's scores are not soft-capped, else blocks."""
TrackerName = Literal["tensorboard", "wandb", "trackio"]
"""The experiment trackers that are known."""


@dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """Settings of the trainer `local`."""

    dtype: DTypeName = "auto"
    """Number type of the weights (bfloat16 is trained on float32 masters); `auto`: bfloat16 on a GPU, else float32."""
    device: DeviceName = "auto"
    """Where the model runs; `auto`: the GPU if there is one."""
    devices: SeveralOrNone = field(default=1, metadata=SPEED_ONLY)
    """Devices of this machine that train together, one process each; 0: all its GPUs. Under `torchrun`, all it started
    (on several machines the run's folder must lie on a shared disk)."""
    sharding: bool = field(default=False, metadata=SPEED_ONLY)
    """Spread weights, gradients and optimiser over several devices (FSDP2); false: each holds a copy of the model."""
    packing: bool = field(default=True, metadata=SPEED_ONLY)
    """Whether sequences are laid end to end and prompts shared; false: padded rows under the model's own attention."""
    attention: AttentionName = field(default="auto", metadata=SPEED_ONLY)
    """How attention keeps to the boundaries of a pack."""
    micro_batch_tokens: Tokens = field(default=4096, metadata=SPEED_ONLY)
    """Most tokens held at once, shared prompts counted once; one example or pair is always taken."""
    gradient_checkpointing: bool = field(default=False, metadata=SPEED_ONLY)
    """Recompute activations in the backward pass: a third slower, far less memory."""
    checkpoint_seconds: NotNegative = field(default=300.0, metadata=SPEED_ONLY)
    """Seconds between two saved states from which a killed training goes on; 0 = none by time."""
    checkpoint_steps: Annotated[int, Field(ge=0, le=1_000_000)] = field(default=0, metadata=SPEED_ONLY)
    """Steps between two saved states, beside those by time; 0 = none by steps."""
    keep_states: Several = field(default=1, metadata=SPEED_ONLY)
    """How many of the last states are kept until the training ends."""
    log_every: Several = field(default=1, metadata=SPEED_ONLY)
    """Steps between two rows of the training's history."""
    trackers: tuple[TrackerName, ...] = field(default=(), metadata=SPEED_ONLY)
    """Who is sent the history too, row by row: "tensorboard", "wandb", "trackio"."""
    tracking_project: Name = field(default="selfboost", metadata=SPEED_ONLY)
    """The project that trackers file their runs under."""
    tracking_folder: Name = field(default="tracking", metadata=SPEED_ONLY)
    """Where TensorBoard and wandb write; relative to the current directory."""
    trust_remote_code: bool = False
    """Whether a checkpoint may bring code of its own that is run here."""

    def footprint(self) -> Footprint:
        """Weights in `dtype`, a micro-batch's activations, and what several devices share."""
        return Footprint(
            weight_bytes=bytes_of(self.dtype),
            tokens=self.micro_batch_tokens,
            recomputes=self.gradient_checkpointing,
            shards=self.devices if self.sharding else 1,
        )
