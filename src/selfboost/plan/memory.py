"""What a stage holds in memory, roughly, in bytes: a training, the noise on its reference, a cache of keys and values.

Leaves out what libraries and several devices take beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfboost.plan.model_size import ModelSize
from selfboost.plan.rehearsal import Rehearsed

MOMENT_BYTES: Mapping[str, int] = {"adamw": 8, "adamw_8bit": 2, "rmsprop": 4}
"""Of the optimiser, per trained parameter."""
ADAPTED = 20
"""LoRA's parameters per layer, width and rank, with an adapter on every linear layer of a Llama."""
ACTIVATIONS = 60
"""Bytes held per layer, width and token in bfloat16 for the backward pass, the head's share included: what
`benchmarks.training` measures for two small Llamas, within a fifth."""
NOISE_BLOCKS = 2 * 2**23
"""Numbers of the two blocks, (vocabulary × positions), in which noise is made (`train/noise/module.py`)."""
CACHE_ROOM = 1.5
"""What the sampler's cache of keys and values may hold over what is in it, to grow without copying."""


def training_bytes(model: ModelSize, stage: Rehearsed, trainer: object) -> int:
    """Weights, float32 masters, gradients, moments, activations of a micro-batch (`train/steps/optimizers.py`).

    Of one device; where weights are spread over all GPUs of a machine (`devices = 0`), as if it had one.
    """
    assert stage.training is not None, "a training stage has its settings"
    training, width = stage.training, weight_bytes(trainer)
    devices = getattr(trainer, "devices", 1) if getattr(trainer, "sharding", False) else 1
    # What is spread over devices is float32 itself; else weights in bfloat16 have float32 masters.
    held = 4 if devices != 1 else width
    each = held + (4 if held < 4 else 0) + 4 + MOMENT_BYTES[training["optimizer"]] + (4 if training["ema_decay"] else 0)
    if rank := training["lora_rank"]:
        weights = model.parameters * width + ADAPTED * model.layers * model.width * rank * each
    else:
        weights = model.parameters * each // max(1, devices)
    sides = 2 if stage.verb == "prefer" else 1
    tokens = max(getattr(trainer, "micro_batch_tokens", 0), sides * training["max_length"])
    scale = model.width * tokens * width // 2
    if getattr(trainer, "gradient_checkpointing", False):
        return weights + scale * (2 * model.layers + ACTIVATIONS)
    return weights + scale * ACTIVATIONS * model.layers


def noise_of(stage: Rehearsed) -> Mapping[str, Any] | None:
    """Settings of the noise on a training's reference, where there is any."""
    noise: Mapping[str, Any] = (stage.loss or {}).get("noise") or {}
    return noise if noise.get("scale") else None


def noise_bytes(model: ModelSize, stage: Rehearsed, trainer: object) -> int:
    """Noise module, its masters, standing and new gradients and moments, the frozen head, blocks; 0 without noise.

    All of it on every device. An adapter leaves the head as it is: there is no copy of it.
    """
    noise, training = noise_of(stage), stage.training
    if noise is None or training is None:
        return 0
    width = weight_bytes(trainer)
    each = width + (0 if training["lora_rank"] else width)
    if noise["trained"]:
        optimizer = noise["optimizer"] or training["optimizer"].removesuffix("_8bit")
        each += (4 if width < 4 else 0) + 4 + 4 + MOMENT_BYTES[optimizer]
    return model.vocabulary * model.width * each + NOISE_BLOCKS * width


def cache_bytes(model: ModelSize | None, engine: object, longest: float) -> float:
    """Bytes of the keys and values of a full batch of rows of so many tokens; 0 for a model of unknown size."""
    if model is None:
        return 0.0
    held = 2 * model.layers * model.key_width * weight_bytes(engine) * getattr(engine, "batch_size", 1)
    return CACHE_ROOM * held * longest


def weight_bytes(component: object) -> int:
    """Bytes of a weight; `auto` is bfloat16, as on a GPU."""
    return 4 if getattr(component, "dtype", "auto") == "float32" else 2


def size_text(size: int | None) -> str:
    """A number of bytes in few characters."""
    if size is None:
        return "unknown"
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
