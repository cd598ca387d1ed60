"""What training writes: the states from which a killed training resumes, and the finished model's folder.

States lie in `training-state/` inside the model's folder and are removed once the model is written. Their names hold
the step and the training: a state of another training (other data, settings or start) is not used.
"""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from transformers import PreTrainedModel

from selfboost.disk.files import open_new, refuse_links_inside, write_atomically
from selfboost.disk.json_files import read_json, write_json
from selfboost.engines.chat import open_tokenizer
from selfboost.engines.checkpoint import quiet, resolve
from selfboost.train.devices.parallel import ALONE, World
from selfboost.train.local_settings import STATE
from selfboost.train.steps.sharded_states import joined, look_at_tensors, read_tensors, split, write_tensors

MANIFEST = "state.json"
"""Seals a state in parts: names its files and their sizes."""
COMMON = "common.pt"
REST = "own"
"""In the common part of a state in parts: what is beside the tensors."""
DAMAGE = (EOFError, OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, pickle.UnpicklingError)
"""What reading a damaged state can raise."""
FILE_SIZE = "5GB"
"""Largest file of a finished model's weights."""
State = dict[str, Any]


@dataclass(frozen=True)
class Saved:
    """A state that was read, its tensors on the CPU."""

    common: State
    """What all processes have alike."""
    own: State
    """Weights and optimiser: whole, or spread over the processes."""


@dataclass(frozen=True)
class StateFolder:
    """Where the states of one training are kept, each written atomically.

    `step-*.pt` is a whole state, written by one process; in a folder `step-*` each wrote its part.
    """

    into: Path
    identity: str
    """Hash of everything that determines the training's result."""
    keep: int = 1
    """How many of the latest states are kept."""

    def paths(self) -> Sequence[Path]:
        """This training's states, oldest first."""
        found = (self.into / STATE).glob(f"step-*-{self.identity[:8]}*")
        return sorted(path for path in found if path.suffix in ("", ".pt"))

    def place(self) -> Path:
        """Where the states lie; a folder that exists from now on, until `remove`."""
        (self.into / STATE).mkdir(exist_ok=True)
        return self.into / STATE

    def read(self, world: World = ALONE, mesh: DeviceMesh | None = None) -> Saved | None:
        """The newest state that all processes read whole, or None to begin; spread over a mesh if it was in parts.

        Raises:
            ValueError: the processes do not see the same states; says who sees which, on all of them.
        """
        paths = self.paths()
        self._agree(world, [(path.name, _content(path)) for path in paths])
        for path in reversed(paths):
            found = _common(path, mapped=mesh is not None)
            if not all(world.gather(found is not None)) or found is None:
                continue  # it is damaged: use the one before it, or start over
            saved = _with_own(path, *found, mesh)
            if all(world.gather(saved is not None)):
                return saved
        return None

    def _agree(self, world: World, known: Sequence[tuple[str, str]]) -> None:
        found = world.gather((known, socket.gethostname()))
        if all(theirs == known for theirs, _ in found):
            return
        last = [(host, *(states[-1] if states else ("none", "no hash"))) for states, host in found]
        each = "; ".join(f"process {at} on {host}: {name} ({code[:8]})" for at, (host, name, code) in enumerate(last))
        raise ValueError(
            f"{self.into / STATE}: the processes would resume from different states ({each}); the run's folder must "
            "lie on a disk that all share, under the same path: choose such a folder with --into, or remove the states "
            "to train from the start"
        )

    def write(self, step: int, common: State, own: State, world: World = ALONE, *, in_parts: bool = False) -> None:
        """Save the state after a step, then remove old ones; a kill leaves at least one complete state.

        `in_parts`: each process writes its part of `own`; else the conductor writes all. Every process must ask.
        """
        path = self.into / STATE / f"step-{step:08d}-{self.identity[:8]}"
        if world.conducts:
            path.parent.mkdir(exist_ok=True)
        if in_parts:
            _write_parts(path, common, own, world)
        elif world.conducts:
            _save(common | own, path.with_suffix(".new"))
            path.with_suffix(".new").replace(path.with_suffix(".pt"))
        if world.conducts:
            kept = self.paths()[-self.keep :]
            for other in path.parent.iterdir():
                if other not in kept:
                    _remove(other)

    def remove(self) -> None:
        """Remove all states: the model is written."""
        shutil.rmtree(self.into / STATE, ignore_errors=True)


def _write_parts(path: Path, common: State, own: State, world: World) -> None:
    """Each process's part, and the manifest when all are there."""
    fresh = path.with_suffix(".new")
    rest, tensors = split(own)
    if world.conducts:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        _save(common | {REST: rest}, fresh / COMMON)
    world.gather(None)
    write_tensors(fresh, tensors)
    if world.conducts:
        files = {file.name: file.stat().st_size for file in sorted(fresh.glob("*.safetensors"))}
        write_json(fresh / MANIFEST, {"common": _content(fresh / COMMON), "files": files, "written": uuid4().hex})
        shutil.rmtree(path, ignore_errors=True)
        fresh.replace(path)
    world.gather(None)  # a process that is slow must not look for it before


def _common(path: Path, *, mapped: bool) -> tuple[State, Mapping[str, Any]] | None:
    """What all processes have alike, and the tensors beside it by their headers; None where a state is damaged."""
    try:
        if path.suffix:
            return _load(path, mapped=mapped), {}
        manifest = read_json(path / MANIFEST)
        if _content(path / COMMON) != manifest["common"]:
            return None
        if any((path / Path(name).name).stat().st_size != size for name, size in manifest["files"].items()):
            return None
        return _load(path / COMMON), look_at_tensors(path)
    except DAMAGE:
        return None


def _with_own(path: Path, common: State, known: Mapping[str, Any], mesh: DeviceMesh | None) -> Saved | None:
    """The state with its tensors; every process must ask for those in parts."""
    if path.suffix:
        return Saved(common, common)
    try:
        return Saved(common, joined(common[REST], read_tensors(path, known, mesh)))
    except DAMAGE:
        return None


def _load(path: Path, *, mapped: bool = False) -> State:
    """`mapped`: read from the disk when it is looked at, where no process needs all of it."""
    return cast(State, torch.load(path, map_location="cpu", weights_only=True, mmap=mapped))


def _save(state: State, path: Path) -> None:
    with open_new(path) as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def _content(path: Path) -> str:
    """A hash of what a state holds, from the checksums that it is stored with."""
    if path.is_dir():
        manifest = path / MANIFEST
        return sha256(manifest.read_bytes()).hexdigest() if manifest.is_file() else "damaged"
    try:
        with zipfile.ZipFile(path) as archive:
            return sha256(repr([(each.filename, each.CRC) for each in archive.infolist()]).encode()).hexdigest()
    except (OSError, zipfile.BadZipFile):
        return "damaged"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def random_state() -> State:
    """The states of PyTorch's random generators."""
    on_gpu = torch.cuda.is_initialized()
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if on_gpu else []}


def restore_random_state(state: State) -> None:
    """Restore PyTorch's random generators."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])


def save_model(
    model: PreTrainedModel,
    start: str,
    into: Path,
    *,
    trust_remote_code: bool,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a finished transformers folder: weights, configuration, tokenizer and template, generation settings.

    `weights`: the whole ones, if the model holds shards.
    """
    refuse_links_inside(into)  # transformers would write through them
    with quiet():
        cast(Any, model).save_pretrained(into, state_dict=weights, max_shard_size=FILE_SIZE)
    given = resolve(start) / "generation_config.json"
    if given.is_file() and cast(Any, model).can_generate():
        # As it was: save_pretrained rewrites it, and some releases refuse files that others have published.
        write_atomically(into / given.name, given.read_bytes())
    open_tokenizer(start, trust_remote_code=trust_remote_code).save(into)  # and what ends an answer, which it may lack
