"""What training writes: the states that a killed training goes on from, and the finished model's folder.

States lie in `training-state/` inside the model's folder until the model is written, then they are removed. They are
named by their step and their training: the state of another one (other data, settings or start) is not used.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfboost.engines.chat import open_tokenizer
from selfboost.engines.checkpoint import quiet, resolve

STATE = "training-state"
State = dict[str, Any]


@dataclass(frozen=True)
class StateFolder:
    """Where the states of one training are kept, each written atomically."""

    into: Path
    identity: str
    """Hash of all that determines the training's result."""
    keep: int = 1
    """How many states there are at most, the last ones."""

    def paths(self) -> Sequence[Path]:
        """This training's states, oldest first."""
        return sorted((self.into / STATE).glob(f"step-*-{self.identity[:8]}.pt"))

    def read(self) -> State | None:
        """The newest whole state, its tensors on the CPU, or None to begin."""
        for path in reversed(self.paths()):
            try:
                return cast(State, torch.load(path, map_location="cpu", weights_only=True))
            except (EOFError, RuntimeError, pickle.UnpicklingError):
                continue  # damaged: the one before it serves, or the beginning does
        return None

    def write(self, step: int, state: State) -> None:
        """Add the state after a step, then remove what is no longer kept; a kill leaves at least one whole state."""
        folder = self.into / STATE
        folder.mkdir(exist_ok=True)
        path = folder / f"step-{step:08d}-{self.identity[:8]}.pt"
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        kept = self.paths()[-self.keep :]
        for other in folder.iterdir():
            if other not in kept:
                other.unlink()

    def remove(self) -> None:
        """Forget all states: the model is written."""
        shutil.rmtree(self.into / STATE, ignore_errors=True)


def random_state() -> State:
    """Where PyTorch's random generators stand."""
    on_gpu = torch.cuda.is_initialized()
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if on_gpu else []}


def restore_random_state(state: State) -> None:
    """Put PyTorch's random generators where they stood."""
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

    `weights`: whole ones, where the model holds shards.
    """
    with quiet():
        cast(Any, model).save_pretrained(into, state_dict=weights)
    given = resolve(start) / "generation_config.json"
    if given.is_file() and cast(Any, model).can_generate():
        # As it was: save_pretrained rewrites it, and some releases refuse files that others have published.
        shutil.copyfile(given, into / given.name)
    open_tokenizer(start, trust_remote_code=trust_remote_code).save(into)  # and what ends an answer, which it may lack
