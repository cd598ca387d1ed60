"""Rough memory of a stage, in bytes: a training, the noise on its reference, a key-value cache.

Overhead of libraries and of several devices is left out.
"""

from __future__ import annotations

from collections.abc import Mapping

from selfboost.losses import noisy
from selfboost.losses.noise_settings import Noise
from selfboost.plan.model_size import ModelSize
from selfboost.plan.rehearsal import Rehearsed
from selfboost.train import Footprint, Training

MOMENT_BYTES: Mapping[str, int] = {"adamw": 8, "adamw_8bit": 2, "rmsprop": 4}
"""Bytes of the optimiser, per trained parameter."""
ADAPTED = 20
"""LoRA's parameters per layer, width and rank, with an adapter on every linear layer of a Llama."""
ACTIVATIONS = 60
"""Bytes held per layer, width and token in bfloat16 for the backward pass, the head's share included: what
`benchmarks.training` measures for two small Llamas, within a fifth."""
NOISE_BLOCKS = 2 * (4 + 1) * 2**23
"""Most numbers of the blocks, (vocabulary × positions), in which noise is made: two of each that is kept for the
backward pass, and of the one at hand (`train/noise/module.py`)."""
CACHE_ROOM = 1.5
"""Spare room of the sampler's key-value cache, relative to its content, so that it grows without copying."""


def training_bytes(model: ModelSize, stage: Rehearsed, held: Footprint) -> int:
    """Weights, float32 masters, gradients, moments (`train/steps/optimizers.py`), a micro-batch's activations.

    For one device; `shards` is the number of devices that weights are spread over, each of which also gathers a layer.
    """
    assert stage.training is not None, "a training stage has its settings"
    training, width = stage.training, held.weight_bytes
    # Sharded weights are float32 themselves; otherwise bfloat16 weights have float32 masters.
    whole = 4 if held.shards != 1 else width
    each = whole + (4 if whole < 4 else 0) + 4 + MOMENT_BYTES[training.optimizer] + (4 if training.ema_decay else 0)
    if rank := training.lora_rank:
        weights = model.parameters * width + ADAPTED * model.layers * model.width * rank * each
    else:
        weights = model.parameters * each // held.shards
    if held.shards > 1:
        weights += gathered_bytes(model)
    tokens = max(held.tokens, len(stage.answers) * training.max_length)
    scale = model.width * tokens * width // 2
    if held.recomputes:
        return weights + scale * (2 * model.layers + ACTIVATIONS)
    return weights + scale * ACTIVATIONS * model.layers


def gathered_bytes(model: ModelSize) -> int:
    """Bytes of what a process of a sharded training brings together at a time: a layer, or the embeddings."""
    return 4 * max(model.parameters // model.layers, model.vocabulary * model.width)


def moments_of(training: Training) -> int:
    """Bytes of the optimiser's moments for each parameter."""
    return MOMENT_BYTES[training.optimizer]


def noise_of(stage: Rehearsed) -> Noise | None:
    """The noise on a training's reference, if any."""
    with_noise = noisy(stage.loss) if stage.loss else None
    return with_noise.noise if with_noise else None


def noise_bytes(model: ModelSize, stage: Rehearsed, held: Footprint) -> int:
    """Noise module, its masters, gradients and moments, the frozen head, blocks; 0 without noise.

    All of it on every device. An adapter leaves the head unchanged, so there is no copy of it.
    """
    noise, training = noise_of(stage), stage.training
    if noise is None or training is None:
        return 0
    width = held.weight_bytes
    each = width + (0 if training.lora_rank else width)
    if noise.trained:
        optimizer = noise.optimizer or training.optimizer.removesuffix("_8bit")
        each += (4 if width < 4 else 0) + 4 + 4 + MOMENT_BYTES[optimizer]
    return model.vocabulary * model.width * each + NOISE_BLOCKS * width


def cache_bytes(model: ModelSize | None, weight_bytes: int, rows: int, longest: float) -> float:
    """Bytes of the keys and values of `rows` rows of `tokens` tokens; 0 for a model of unknown size."""
    if model is None:
        return 0.0
    return CACHE_ROOM * token_bytes(model, weight_bytes) * rows * longest


def token_bytes(model: ModelSize, weight_bytes: int) -> int:
    """Bytes of a token's keys and values."""
    return 2 * model.layers * model.key_width * weight_bytes


def size_text(size: int | None) -> str:
    """A number of bytes as short text."""
    if size is None:
        return "unknown"
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
