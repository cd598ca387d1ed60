"""What one of the two processes of `benchmarks.sharding` does."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.fsdp import fully_shard  # noqa: F401  # loaded before memory is counted
from transformers.models.llama import modeling_llama  # noqa: F401  # so is this

from selfboost.engines.checkpoint import load_causal_model
from selfboost.system import give_back_freed_memory
from selfboost.train import Training
from selfboost.train.devices.parallel import World
from selfboost.train.devices.sharding import mesh_of, processes_mesh, shard, whole, whole_weights
from selfboost.train.local_settings import LocalSettings
from selfboost.train.model.logprobs import LanguageModel, language_model, unopened_model
from selfboost.train.model.mapped import open_unread, read_parts
from selfboost.train.packs.rows import Item, Row
from selfboost.train.steps.checkpoints import FILE_SIZE, StateFolder
from selfboost.train.steps.optimizers import Optimizer

PHASES = ("open", "step", "save", "resume", "export")
Peaks = dict[str, float]
CPU = torch.device("cpu")
LOCAL = LocalSettings(device="cpu", dtype="float32")


def held() -> float:
    """Anonymous memory of this process, MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


@contextmanager
def phase(found: Peaks, name: str, world: World) -> Generator[None]:
    """Note the most memory held above the beginning's, looked at every two milliseconds."""
    gc.collect()
    give_back_freed_memory()
    world.gather(None)
    before, over = held(), threading.Event()
    found[name] = 0.0

    def look() -> None:
        while not over.is_set():
            found[name] = max(found[name], held() - before)
            time.sleep(0.002)

    watch = threading.Thread(target=look)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


def opened(folder: Path, *, as_whole: bool) -> LanguageModel:
    """The model, sharded."""
    mesh = processes_mesh(2, 2, CPU)
    if as_whole:
        model = language_model(load_causal_model(str(folder), "float32", "cpu"), LOCAL)
        shard(model, mesh, CPU, torch.float32)
        return model
    model = unopened_model(open_unread(str(folder), trust_remote_code=False))
    shard(model, mesh, CPU, torch.float32)
    read_parts(str(folder), model.model)
    model.open(LOCAL)
    return model


def gathered(optimizer: Optimizer) -> dict[str, Any]:
    """Masters and moments, whole on each process."""
    masters = [whole(master.detach()) for master in optimizer.masters]
    inner = optimizer._inner.state_dict()
    state = {at: {name: whole(x) for name, x in one.items()} for at, one in inner["state"].items()}
    return {"masters": masters, "moments": inner | {"state": state}}


def measure(world: World, folder: Path, *, whole: bool) -> list[Peaks]:
    """Peaks of every phase, of each process."""
    torch.set_num_threads(1)
    ctypes.CDLL(None).mallopt(-3, 2**16)  # M_MMAP_THRESHOLD: freed tensors go back at once, as large ones always do
    found: Peaks = {}
    with phase(found, "open", world):
        model = opened(folder, as_whole=whole)
    optimizer = Optimizer(model.parameters(), Training())
    with phase(found, "step", world):
        item = Item("", (Row((5, 6, 7), (8, 9)),))
        model.losses([item], lambda _, logps_N: -logps_N.sum()[None]).total.backward()
        optimizer.clip()
        optimizer.step(1e-3)
    states = StateFolder(folder, "whole" if whole else "parts")
    with phase(found, "save", world):
        own = {"optimizer": gathered(optimizer) if whole else optimizer.state()}
        states.write(1, {}, own, world, in_parts=not whole)
        del own
    with phase(found, "resume", world):
        saved = states.read(world, None if whole else mesh_of(model.parameters()))
        assert saved is not None
        optimizer.restore(saved.own["optimizer"])
        del saved
    with phase(found, "export", world):
        weights = whole_of(model) if whole else whole_weights(model.model, torch.bfloat16, states.place())
        if world.conducts:
            model.model.save_pretrained(folder / "out", state_dict=weights, max_shard_size=FILE_SIZE)
        del weights
    world.gather(None)
    states.remove() if world.conducts else None
    return world.gather(found)


def whole_of(model: LanguageModel) -> dict[str, torch.Tensor]:
    """Every weight, on every process."""
    return {name: whole(tensor).to("cpu", torch.bfloat16) for name, tensor in model.model.state_dict().items()}
