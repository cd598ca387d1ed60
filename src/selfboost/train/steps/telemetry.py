"""Speed and memory of every training step, relative to this machine's peak.

Utilisation is the useful floating-point operations of a step per second, over the rate of large matrix products in the
same number type on the same device, measured once per process. Useful are the products with the body's weights for
every token (a shared prompt's once), those of causal attention, and those with the head at completion positions.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from selfboost.system import peak_memory
from selfboost.train.model.attention import windows_of
from selfboost.train.model.hidden import body_of
from selfboost.train.packs.rows import Item

TIMINGS = ("seconds", "tokens_per_second", "utilisation", "memory_mb")
"""Columns of a training's history that differ from run to run; all others are a function of data, settings and seed."""
MEASURED_SECONDS = 0.1
FORWARD, BACKWARD = 2.0, 4.0
"""Operations per weight and token; half of the backward pass is the weight's gradient, half the input's."""


@dataclass(frozen=True)
class Operations:
    """The useful floating-point operations that a model spends on items in one forward and backward pass."""

    per_token: float
    """Products with the body's weights."""
    per_prediction: float
    """Products with the head's weights."""
    per_key: float
    """Attention of one layer, per query and key that it sees."""
    windows: Sequence[int | None]
    """Window of each attention layer; None: all tokens before the query."""

    def operations(self, items: Iterable[Item]) -> float:
        """Operations of one training step on these items."""
        total = 0.0
        for item in items:
            prompt = len(item.prompt_ids)
            total += self.per_token * item.shared_tokens + self.per_prediction * item.completion_tokens
            for window in set(self.windows):
                seen = keys_seen(0, prompt, window) + sum(keys_seen(prompt, len(row), window) for row in item.rows)
                total += self.per_key * self.windows.count(window) * seen
        return total


def keys_seen(start: int, end: int, window: int | None) -> int:
    """Total keys seen by the queries at places start … end − 1 of a row: each sees itself and all before it."""
    if window is None or end <= window:
        return (start + 1 + end) * (end - start) // 2
    if start >= window:
        return window * (end - start)
    return keys_seen(start, window, None) + keys_seen(window, end, window)


def work_of(model: PreTrainedModel) -> Operations:
    """The operations of a language or reward model; frozen weights need no gradient."""
    config: Any = model.config.get_text_config()
    body = cast(torch.nn.Module, body_of(model))
    embeddings = {id(weight) for module in body.modules() if isinstance(module, torch.nn.Embedding)
                  for weight in module.parameters()}  # fmt: skip
    active: int | None = getattr(config, "num_experts_per_tok", None)
    per_token = 0.0
    for weight in body.parameters():
        if weight.ndim > 1 and id(weight) not in embeddings:
            experts = active / weight.shape[0] if active and weight.ndim == 3 else 1.0
            per_token += _operations(weight) * experts
    layer = cast(Any, model).get_output_embeddings()
    per_prediction = 0.0 if layer is None else _operations(layer.weight)
    heads = int(getattr(config, "num_attention_heads", 0))
    size = int(getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // max(1, heads))
    return Operations(per_token, per_prediction, 2 * (FORWARD + BACKWARD) * heads * size, windows_of(config))


def _operations(weight: torch.Tensor) -> float:
    return weight.numel() * (FORWARD + (BACKWARD if weight.requires_grad else BACKWARD / 2))


@cache
def product_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations per second of large square matrix products, the best of several tries."""
    on_gpu = device.type == "cuda"
    size, times = (4096, 10) if on_gpu else (512, 1)
    x_SS, y_SS = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < MEASURED_SECONDS:
        start = time.perf_counter()
        for _ in range(times):
            torch.mm(x_SS, y_SS)
        if on_gpu:
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 * times / best


def memory_mb(device: torch.device) -> float:
    """Peak memory since the process started, in MB: the GPU's, or the resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_memory() / 2**20


class StepMeter:
    """Measures the steps of one training."""

    def __init__(self, model: PreTrainedModel, devices: int = 1, computed_in: torch.dtype | None = None) -> None:
        self.work, self.device = work_of(model), model.device
        self.rate = devices * product_rate(computed_in or model.dtype, model.device)

    def row(self, batch: Sequence[Item], seconds: float) -> dict[str, float]:
        """A step's time, tokens per second, utilisation and peak memory."""
        seconds = max(seconds, 1e-9)
        return {
            "seconds": round(seconds, 4),
            "tokens_per_second": round(sum(item.tokens for item in batch) / seconds, 1),
            "utilisation": round(self.work.operations(batch) / seconds / self.rate, 4),
            "memory_mb": round(memory_mb(self.device), 1),
        }
