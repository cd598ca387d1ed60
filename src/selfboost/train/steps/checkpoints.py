"""What training writes: the states from which a killed training resumes, and the finished model's folder.

States lie in `training-state/` inside the model's folder and are removed once the model is written. Their names hold
the step and the training: a state of another training (other data, settings or start) is not used.
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
    """Hash of everything that determines the training's result."""
    keep: int = 1
    """How many of the latest states are kept."""

    def paths(self) -> Sequence[Path]:
        """This training's states, oldest first."""
        return sorted((self.into / STATE).glob(f"step-*-{self.identity[:8]}.pt"))

    def read(self) -> State | None:
        """The newest complete state, with its tensors on the CPU; None to start from the beginning."""
        for path in reversed(self.paths()):
            try:
                return cast(State, torch.load(path, map_location="cpu", weights_only=True))
            except (EOFError, RuntimeError, pickle.UnpicklingError):
                continue  # damaged: use the one before it, or start over
        return None

    def write(self, step: int, state: State) -> None:
        """Save the state after a step, then remove old ones; a kill leaves at least one complete state."""
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
        """Remove all states: the model is written."""
        shutil.rmtree(self.into / STATE, ignore_errors=True)


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
    with quiet():
        cast(Any, model).save_pretrained(into, state_dict=weights)
    open_tokenizer(start, trust_remote_code=trust_remote_code).save(into)
    given = resolve(start) / "generation_config.json"
    if given.is_file() and cast(Any, model).can_generate():
        # As it was: save_pretrained rewrites it, and some releases refuse files that others have published.
        shutil.copyfile(given, into / given.name)
