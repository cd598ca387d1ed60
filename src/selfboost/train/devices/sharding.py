"""Weights, gradients and optimiser state spread over devices: PyTorch's FSDP2, one group a decoder layer.

Weights are kept in float32 and computed with in the number type of the training. Saved states are whole, so a
training can resume on another number of devices. Every process reads the whole model before it keeps its shard.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def shard(model: torch.nn.Module, size: int, device: torch.device, computed_in: torch.dtype) -> None:
    """Shard a module over all processes: each holds 1/`size` of every weight."""
    mesh = init_device_mesh(device.type, (size,))
    policy = MixedPrecisionPolicy(param_dtype=computed_in, reduce_dtype=torch.float32)
    for module in list(model.modules()):
        if isinstance(module, GradientCheckpointingLayer):
            fully_shard(module, mesh=mesh, mp_policy=policy)
    # The outermost group too lets go of whole weights after a forward pass: none may follow it backwards.
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor, gathered; every process must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, live."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_of_parts(own: Tensor, like: Tensor) -> Tensor:
    """The tensor made of every process's part, sharded like another one; every process must call this."""
    if not isinstance(like, DTensor):
        return own
    mesh, placements = like.device_mesh, like.placements
    joined = DTensor.from_local(own, mesh, placements, run_check=False, shape=like.shape, stride=like.stride())
    return joined.full_tensor()


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, sharded like another one of its shape."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def whole_weights(model: PreTrainedModel, saved_in: torch.dtype) -> dict[str, Tensor]:
    """All weights by name, on the CPU, tied ones under their first name; every process must call this."""
    again = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    again -= {name for name, _ in model.named_parameters()}
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name not in again:
            found[name] = whole(tensor).to("cpu", saved_in)
    return found
