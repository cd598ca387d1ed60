"""Weights, gradients and optimiser state spread over devices: PyTorch's FSDP2, one group a decoder layer.

Weights are kept in float32 and computed with in the number type of the training. With fewer shards than processes
(HSDP), each `shards` neighbouring processes hold one copy. A model may come without its weights: each process then
makes room for its part alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_tensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def processes_mesh(size: int, shards: int, device: torch.device) -> DeviceMesh:
    """The processes as rows of `shards` neighbours that share one copy of the weights; in one row if there is one."""
    copies = size // shards
    if copies == 1:
        return init_device_mesh(device.type, (size,), mesh_dim_names=("shards",))
    return init_device_mesh(device.type, (copies, shards), mesh_dim_names=("copies", "shards"))


def placements(mesh: DeviceMesh) -> tuple[Placement, ...]:
    """How FSDP2 lays a tensor over the processes: in rows of the first dimension, alike in every copy."""
    return (*(Replicate() for _ in range(mesh.ndim - 1)), Shard(0))


def mesh_of(tensors: Iterable[Tensor]) -> DeviceMesh | None:
    """The processes over which tensors are spread; None if they are whole."""
    return next((tensor.device_mesh for tensor in tensors if isinstance(tensor, DTensor)), None)


def shard(model: torch.nn.Module, mesh: DeviceMesh, device: torch.device, computed_in: torch.dtype) -> None:
    """Spread a module over a mesh's processes, in float32; weights on the meta device become unset ones."""
    policy = MixedPrecisionPolicy(param_dtype=computed_in, reduce_dtype=torch.float32)
    for module in list(model.modules()):
        if isinstance(module, GradientCheckpointingLayer):
            _make_room(module, device)  # one group is whole at a time
            fully_shard(module.float(), mesh=mesh, mp_policy=policy)
    if embeddings := _embeddings_alone(model):
        _make_room(embeddings, device)
        fully_shard(embeddings.float(), mesh=mesh, mp_policy=policy)
    _make_room(model, device)
    # The outermost group too lets go of whole weights after a forward pass: none may follow it backwards.
    for parameter in model.parameters():
        if not isinstance(parameter, DTensor):
            parameter.data = parameter.data.float()
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def _embeddings_alone(model: torch.nn.Module) -> torch.nn.Embedding | None:
    """The embeddings of tokens, if no other module shares their weights: a group beside the head's."""
    wanted = next((module for module in model.modules() if isinstance(module, torch.nn.Embedding)), None)
    if wanted is None or isinstance(wanted.weight, DTensor):
        return None
    holders = [module for module in model.modules() if getattr(module, "weight", None) is wanted.weight]
    return wanted if len(holders) == 1 else None


def cause_of(error: CheckpointException) -> BaseException:
    """The first error of a process that made a distributed checkpoint fail."""
    return next(iter(error.failures.values()))[0]


def _make_room(module: torch.nn.Module, device: torch.device) -> None:
    """Replace weights on the meta device by unset ones on a device; those that are shared stay shared."""
    made: dict[torch.nn.Parameter, torch.nn.Parameter] = {}
    for each in module.modules():
        for name, parameter in list(each.named_parameters(recurse=False)):
            if parameter.is_meta and not isinstance(parameter, DTensor):
                if parameter not in made:
                    room = torch.empty_like(parameter, dtype=torch.float32, device=device)
                    made[parameter] = torch.nn.Parameter(room, parameter.requires_grad)
                setattr(each, name, made[parameter])


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor, gathered; every process must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, live."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def spread_as(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor that every process has, of which each keeps its part if one of its shape is sharded."""
    if isinstance(tensor, DTensor) or not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    whole_here = tensor.to(like.device)
    # A copy: the whole may be mapped from a file that another process removes.
    return distribute_tensor(whole_here, like.device_mesh, like.placements, src_data_rank=None).clone()


def whole_weights(model: PreTrainedModel, saved_in: torch.dtype, folder: Path) -> dict[str, Tensor]:
    """All weights on the conductor, by name, a tied one under its first name; elsewhere none.

    Every process must ask. One weight after the other is brought together, in a file of `folder`, and mapped from it:
    neither a device nor a process's memory holds the model whole.
    """
    again = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    again -= {name for name, _ in model.named_parameters()}
    found: dict[str, Tensor] = {}
    group = _first_copy(model)
    for at, (name, tensor) in enumerate(model.state_dict().items()):
        if (
            name not in again
            and (joined := _on_conductor(tensor, saved_in, folder / f"{at}.weight", group)) is not None
        ):
            found[name] = joined
    return found


def _first_copy(model: PreTrainedModel) -> dist.ProcessGroup | None:
    """The processes of the conductor's copy; every process must ask."""
    mesh = mesh_of(model.parameters())
    shards = list(range(mesh.size(mesh.ndim - 1))) if mesh else [0]
    made = cast(dist.ProcessGroup, dist.new_group(shards, backend="gloo"))
    return made if dist.get_rank() in shards else None


def _on_conductor(tensor: Tensor, saved_in: torch.dtype, file: Path, group: dist.ProcessGroup | None) -> Tensor | None:
    conducts = dist.get_rank() == 0
    own = part(tensor).detach().to("cpu", saved_in)
    if not isinstance(tensor, DTensor):
        return own if conducts else None
    if group is None:
        return None
    size = group.size()
    rows = -(-len(tensor) // size)
    padded = own.new_zeros(rows, *own.shape[1:])
    padded[: len(own)] = own
    if not conducts:
        dist.gather(padded, None, group=group)
        return None
    joined = torch.from_file(str(file), shared=True, size=size * math.prod(padded.shape), dtype=saved_in)
    joined = joined.view(size * rows, *own.shape[1:])
    dist.gather(padded, list(joined.chunk(size)), group=group)
    return joined[: len(tensor)]
