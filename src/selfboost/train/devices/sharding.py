"""Weights, gradients and optimiser state spread over devices: PyTorch's FSDP2, one group a decoder layer.

Weights are kept in float32 and computed with in the number type of the training. Each process saves its part, and a
training may go on with another number of devices. What is not this process's part stays in the model's file, mapped.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def shard(model: torch.nn.Module, size: int, device: torch.device, computed_in: torch.dtype) -> None:
    """Spread a module over all processes: each holds one part in `size` of every weight, in float32."""
    mesh = init_device_mesh(device.type, (size,))
    policy = MixedPrecisionPolicy(param_dtype=computed_in, reduce_dtype=torch.float32)
    for module in list(model.modules()):
        if isinstance(module, GradientCheckpointingLayer):
            fully_shard(module.float(), mesh=mesh, mp_policy=policy)  # one group is whole at a time
    # The outermost group too lets go of whole weights after a forward pass: none may follow it backwards.
    for parameter in model.parameters():
        if not isinstance(parameter, DTensor):
            parameter.data = parameter.data.float()
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor, gathered; every process must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, live."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def taken(pieces: Sequence[Tensor], like: Tensor) -> Tensor:
    """What this process holds of a tensor, from how it was saved.

    `pieces`: the whole tensor, this process's part of it, or the parts of all processes in order. What is no part of a
    tensor of this shape, such as a count of steps, is taken as it is.
    """
    first, own = pieces[0], part(like)
    whole_here = not isinstance(like, DTensor) and len(pieces) == 1
    if whole_here or first.ndim != like.ndim or not first.ndim or (len(pieces) == 1 and first.shape == own.shape):
        return first
    start, at = _start(like), 0
    found: list[Tensor] = []
    for piece in pieces:
        low, high = max(start - at, 0), min(start + len(own) - at, len(piece))
        if low < high:
            found.append(piece[low:high])
        at += len(piece)
    return torch.cat(found) if found else first.new_empty(own.shape)


def _start(like: Tensor) -> int:
    """Index of the first row that this process holds."""
    if not isinstance(like, DTensor):
        return 0
    mesh = like.device_mesh
    return min(len(like), -(-len(like) // mesh.size()) * mesh.get_local_rank())


def sharded_as(own: Tensor, like: Tensor) -> Tensor:
    """The tensor of which each process has a part, sharded as another one of its shape; others stay as they are."""
    if not isinstance(like, DTensor) or own.shape != like.to_local().shape:
        return own
    mesh, placements = like.device_mesh, like.placements
    own = own.to(like.device)
    return DTensor.from_local(own, mesh, placements, run_check=False, shape=like.shape, stride=like.stride())


def whole_weights(model: PreTrainedModel, saved_in: torch.dtype) -> dict[str, Tensor]:
    """All weights on the conductor, by name, on the CPU, a tied one under its first name; elsewhere none.

    Every process must ask. One weight after the other is brought together, and on no device.
    """
    again = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    again -= {name for name, _ in model.named_parameters()}
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name not in again and (joined := _on_conductor(tensor, saved_in)) is not None:
            found[name] = joined
    return found


def _on_conductor(tensor: Tensor, saved_in: torch.dtype) -> Tensor | None:
    own = part(tensor).detach().to("cpu", saved_in)
    if not isinstance(tensor, DTensor):
        return own if dist.get_rank() == 0 else None
    size = tensor.device_mesh.size()
    padded = own.new_zeros(-(-len(tensor) // size), *own.shape[1:])
    padded[: len(own)] = own
    parts = [torch.empty_like(padded) for _ in range(size)] if dist.get_rank() == 0 else None
    dist.gather(padded, parts)
    return None if parts is None else torch.cat(parts)[: len(tensor)]
