"""Tensors of a state that is spread over processes: PyTorch's distributed checkpoints, in safetensors files.

Each process writes and reads its part; another number of processes, or one, may read them. Nothing is pickled.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed.checkpoint as dcp
import torch.distributed.tensor as distributed
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.device_mesh import DeviceMesh

from selfboost.train.devices.sharding import cause_of, part, placements

FILES = 16
"""About as many files a process writes: each is put together in memory."""
FILE_BYTES = 2**24
"""Unless they would be smaller than this."""
SEPARATOR = "/"
PLACE = "\0tensor"
"""Stands for a tensor in what is kept beside the tensors."""


def split(state: Any, at: str = "") -> tuple[Any, dict[str, Tensor]]:
    """A state of mappings and lists without its tensors, and the tensors by their places in it."""
    if isinstance(state, Tensor):
        return PLACE, {at: state}
    if not isinstance(state, (dict, list)):
        return state, {}
    entries = cast("dict[Any, Any]", state if isinstance(state, dict) else dict(enumerate(cast("list[Any]", state))))
    parts = {key: split(each, f"{at}{SEPARATOR}{key}") for key, each in entries.items()}
    tensors = {name: tensor for _, found in parts.values() for name, tensor in found.items()}
    rest = {key: each for key, (each, _) in parts.items()}
    return (rest if isinstance(state, dict) else list(rest.values())), tensors


def joined(rest: Any, tensors: Mapping[str, Tensor], at: str = "") -> Any:
    """The state that `split` took apart."""
    if isinstance(rest, str) and rest == PLACE:
        return tensors[at]
    if isinstance(rest, dict):
        return {k: joined(each, tensors, f"{at}{SEPARATOR}{k}") for k, each in cast("dict[Any, Any]", rest).items()}
    if isinstance(rest, list):
        return [joined(each, tensors, f"{at}{SEPARATOR}{k}") for k, each in enumerate(cast("list[Any]", rest))]
    return rest


def write_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write sharded tensors into a folder; every process must ask.

    Raises:
        OSError: a process could not write; on every process.
    """
    written, files = 0, dict[str, int]()
    limit = max(FILE_BYTES, sum(part(tensor).nbytes for tensor in tensors.values()) // FILES)
    for name, tensor in tensors.items():
        files[name] = written // limit + 1
        written += part(tensor).nbytes
    writer = HuggingFaceStorageWriter(str(folder), fqn_to_index_mapping=files, save_distributed=True)
    try:
        cast(Any, dcp).save(tensors, storage_writer=writer)
    except CheckpointException as error:
        raise cause_of(error) from error


def look_at_tensors(folder: Path) -> Mapping[str, Any]:
    """Name → size and number type of the tensors in a folder, by its files' headers.

    Raises:
        OSError, ValueError: a file is missing or damaged.
    """
    try:
        return cast("Mapping[str, Any]", HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata)
    except SafetensorError as error:
        raise ValueError(f"{folder}: {error}") from error


def read_tensors(folder: Path, known: Mapping[str, Any], mesh: DeviceMesh | None) -> dict[str, Tensor]:
    """The tensors in a folder, spread over a mesh or whole; every process must ask.

    Raises:
        ValueError: a file is damaged; on every process.
    """
    tensors = {name: _room(each.size, each.properties.dtype, mesh) for name, each in known.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one process reads alone
            cast(Any, dcp).load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)))
    except CheckpointException as error:
        raise ValueError(f"{folder}: {error}") from error
    return tensors


def _room(size: torch.Size, dtype: torch.dtype, mesh: DeviceMesh | None) -> Tensor:
    """An unset tensor; numbers of their own, such as a count of steps, are whole everywhere."""
    if mesh is None or not size:
        return torch.empty(size, dtype=dtype)
    return distributed.empty(size, dtype=dtype, device_mesh=mesh, placements=placements(mesh))
