"""Settings of the trainer `local`: dtype, devices, memory, saved states, trackers.

In a file of their own, so that everything below the trainer can use them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from selfboost.engines.checkpoint import DeviceName, DTypeName, bytes_of
from selfboost.setting_types import SPEED_ONLY, Name, NotNegative, RemoteCode, Several, SeveralOrNone, Tokens
from selfboost.trackers import TrackerName
from selfboost.train import Footprint

AttentionName = Literal["auto", "blocks", "rows", "flex"]
"""Matrix products over blocks of queries; PyTorch's fused attention on padded rows; FlexAttention. `auto`: `rows` on a
GPU where the model's scores are not soft-capped, else blocks."""
STATE = "training-state"
"""The folder, inside a training's model folder, with the states from which a killed one resumes."""


@dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """Settings of the trainer `local`."""

    dtype: DTypeName = "auto"
    """Number type of the weights (bfloat16 has float32 masters); `auto`: bfloat16 on a GPU, else float32."""
    device: DeviceName = "auto"
    """Where the model runs; `auto`: the GPU if there is one."""
    devices: SeveralOrNone = field(default=1, metadata=SPEED_ONLY)
    """Devices of this machine to train on, one process each; 0: all GPUs. Under `torchrun`, all its processes take part
    (on several machines, the run's folder must be on a shared disk)."""
    timeout_seconds: Annotated[float, Field(ge=1, le=30 * 86400)] = field(default=1800.0, metadata=SPEED_ONLY)
    """How long a process of several waits for the others before it gives up; for opening a model, 300 at least."""
    sharding: bool = field(default=False, metadata=SPEED_ONLY)
    """Spread weights, gradients and optimiser over several devices (FSDP2); false: each holds a copy of the model."""
    shards: SeveralOrNone = field(default=0, metadata=SPEED_ONLY)
    """With sharding: devices that one copy of the weights is spread over, such as those of one machine; 0: all."""
    packing: bool = field(default=True, metadata=SPEED_ONLY)
    """Whether sequences are laid end to end and prompts shared; false: padded rows under the model's own attention."""
    attention: AttentionName = field(default="auto", metadata=SPEED_ONLY)
    """How attention keeps packed sequences apart."""
    micro_batch_tokens: Tokens = field(default=4096, metadata=SPEED_ONLY)
    """Largest micro-batch in tokens, shared prompts counted once; an example or pair is never split."""
    gradient_checkpointing: bool = field(default=False, metadata=SPEED_ONLY)
    """Recompute activations in the backward pass: a third slower, with far less memory."""
    checkpoint_seconds: NotNegative = field(default=300.0, metadata=SPEED_ONLY)
    """Seconds between saved states, from which a killed training resumes; 0 = off."""
    checkpoint_steps: Annotated[int, Field(ge=0, le=1_000_000)] = field(default=0, metadata=SPEED_ONLY)
    """Steps between saved states, in addition to those by time; 0 = off."""
    keep_states: Several = field(default=1, metadata=SPEED_ONLY)
    """How many of the latest states are kept until the training ends."""
    log_every: Several = field(default=1, metadata=SPEED_ONLY)
    """Steps between rows of the training's history."""
    trackers: tuple[TrackerName, ...] = field(default=(), metadata=SPEED_ONLY)
    """Trackers that also receive the history, row by row: "tensorboard", "wandb", "trackio", "mlflow"."""
    tracking_project: Name = field(default="selfboost", metadata=SPEED_ONLY)
    """The trackers' project name."""
    tracking_folder: Name = field(default="tracking", metadata=SPEED_ONLY)
    """Where TensorBoard and wandb write, relative to the current directory."""
    trust_remote_code: RemoteCode = False
    """Whether Python files of a checkpoint may run; needs `--trust remote-code` too."""

    def footprint(self) -> Footprint:
        """Weights in `dtype`, a micro-batch's activations, and what several devices share."""
        return Footprint(
            weight_bytes=bytes_of(self.dtype),
            tokens=self.micro_batch_tokens,
            recomputes=self.gradient_checkpointing,
            shards=(self.shards or self.devices) if self.sharding else 1,
            devices=self.devices,
        )
