"""Weights, gradients and optimiser state spread over devices: PyTorch's FSDP2, one group a decoder layer.

Weights are kept in float32 and computed with in the number type of the training. What is saved is whole, so that a
training may go on with another number of devices. Every process reads the whole model before it keeps its shard.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from selfboost.train.logprobs import LanguageModel


def shard(model: LanguageModel, size: int, computed_in: torch.dtype) -> None:
    """Spread a model over all processes: each holds one part in `size` of every weight."""
    mesh = init_device_mesh(model.head.weight_VD.device.type, (size,))
    policy = MixedPrecisionPolicy(param_dtype=computed_in, reduce_dtype=torch.float32)
    for module in model.model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def whole(tensor: Tensor) -> Tensor:
    """A tensor as it is without shards; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, sharded as another one is."""
    return distribute_tensor(tensor, like.device_mesh, like.placements) if isinstance(like, DTensor) else tensor


def whole_weights(model: PreTrainedModel, saved_in: torch.dtype) -> dict[str, Tensor]:
    """All weights, by name, on the CPU; every process must ask."""
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        found[name] = whole(tensor).to("cpu", saved_in)
    return found
