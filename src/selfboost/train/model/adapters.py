"""LoRA (arXiv 2106.09685): each chosen matrix W is frozen and a product is learned beside it: W + B·A · alpha / rank.

Uses peft, in place on an opened model: with the adapter off, the model is what it was before, so a reference that
equals the start needs no second copy. B starts at 0. No dropout: a training depends only on data, settings and seed.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from selfboost.disk.files import write_atomically
from selfboost.engines.checkpoint import ADAPTER_SETTINGS
from selfboost.extras import require
from selfboost.train import Training
from selfboost.train.model.hidden import body_of

NAME = "default"
"""peft's name of a model's only adapter."""
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""Prefix that peft gives a model's parameters."""


@dataclass(frozen=True)
class Adapter:
    """An adapter on a model."""

    wrapped: Any
    """peft's model; the model itself holds the adapter too."""
    targets: Sequence[str]
    """Names of the adapted layers."""
    heads: Sequence[str]
    """Names of modules trained in full beside it: a reward model's new scalar head."""

    def save(self, folder: Path) -> None:
        """Write the adapter for peft; the same training writes the same bytes, wherever its start model lies."""
        folder.mkdir(exist_ok=True)
        trained: dict[str, Tensor] = require_peft().get_peft_model_state_dict(self.wrapped, save_embedding_layers=False)
        for head in self.heads:
            state = cast("dict[str, Tensor]", self.wrapped.get_base_model().get_submodule(head).state_dict())
            trained |= {f"{PREFIX}{head}.{name}": tensor for name, tensor in state.items()}
        write_atomically(folder / WEIGHTS, save({name: x.detach().cpu().contiguous() for name, x in trained.items()}))
        settings = self.wrapped.peft_config[NAME].to_dict() | {
            "base_model_name_or_path": None,
            "inference_mode": True,
            "modules_to_save": list(self.heads) or None,
            "target_modules": list(self.targets),
            "task_type": "SEQ_CLS" if self.heads else "CAUSAL_LM",
        }
        written = json.dumps(settings, indent=1, sort_keys=True, default=sorted)
        write_atomically(folder / ADAPTER_SETTINGS, written.encode())

    @torch.no_grad()
    def merge(self) -> None:
        """Merge the products into the matrices, in float32 at least, and remove the adapter."""
        for name in self.targets:
            layer = self.wrapped.get_base_model().get_submodule(name)
            weight = cast(Tensor, layer.get_base_layer().weight)
            exact = torch.promote_types(weight.dtype, torch.float32)
            layer.lora_A.to(exact)
            layer.lora_B.to(exact)
            weight.copy_(weight.to(exact) + layer.get_delta_weight(NAME))
        self.wrapped.unload()


def put_on(model: PreTrainedModel, training: Training, seed: int, *, train_head: bool) -> Adapter:
    """Freeze a model and add a new adapter; with `train_head`, everything outside the body stays trainable.

    Raises:
        ValueError: peft is not installed, or a target is not a linear layer of the model's body.
    """
    peft = require_peft()
    targets = _targets(model, training.lora_targets)
    settings = peft.LoraConfig(r=training.lora_rank, lora_alpha=training.lora_alpha, target_modules=targets)
    torch.manual_seed(seed)  # of the A matrices
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # peft sets it as each layer needs it
        # In the model's number type: the optimiser's masters are float32 anyway.
        wrapped = peft.get_peft_model(model, settings, autocast_adapter_dtype=False)
    heads = _outside_body(model) if train_head else []
    for head in heads:
        model.get_submodule(head).requires_grad_(True)
    return Adapter(wrapped, targets, heads)


def require_peft() -> Any:
    """peft, or a sentence that says how to install it."""
    return require("peft", extra="lora", setting="training.lora_rank")


def _targets(model: PreTrainedModel, wanted: str | Sequence[str]) -> list[str]:
    """Full names of the layers to adapt, sorted."""
    named = dict(cast("Iterable[tuple[str, torch.nn.Module]]", model.named_modules()))
    inside = set(cast("Iterable[torch.nn.Module]", body_of(model).modules()))
    linear = [name for name, layer in named.items() if layer in inside and isinstance(layer, torch.nn.Linear | Conv1D)]
    if isinstance(wanted, str):
        return sorted(linear)
    known = sorted({name.rpartition(".")[2] for name in linear})
    for target in wanted:
        if not any(_ends_with(name, target) for name in linear):
            raise ValueError(
                f"training.lora_targets: {type(model).__name__} has no linear layer {target!r} below its head; "
                f"allowed: 'all-linear', or a list of: {', '.join(known)}"
            )
    return sorted(name for name in linear if any(_ends_with(name, target) for target in wanted))


def _ends_with(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _outside_body(model: PreTrainedModel) -> list[str]:
    """Names of a model's children that have weights and are not its body."""
    body = body_of(model)
    return [
        name for name, child in model.named_children() if child is not body and any(True for _ in child.parameters())
    ]
