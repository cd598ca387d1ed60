"""What training writes: the state that a killed training goes on from, and the finished model's folder.

The state lies in `training-state/` inside the model's folder until the model is written, then it is removed. A state
of another training (other data, settings or start) is not used.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from selfboost.engines.chat import open_tokenizer
from selfboost.engines.checkpoint import quiet, resolve

STATE = "training-state"
FILE = "state.pt"
State = dict[str, Any]


@dataclass(frozen=True)
class StateFolder:
    """Where the state of one training is kept: the last one only, replaced atomically."""

    into: Path
    identity: str
    """Hash of all that determines the training's result."""

    def read(self, device: torch.device) -> State | None:
        """The state to go on from, or None to begin."""
        path = self.into / STATE / FILE
        if not path.exists():
            return None
        state = cast(State, torch.load(path, map_location=device, weights_only=True))
        return state if state.pop("identity") == self.identity else None

    def write(self, state: State) -> None:
        """Replace the state; a kill leaves the old one or the new one."""
        folder = self.into / STATE
        folder.mkdir(exist_ok=True)
        fresh = folder / f"{FILE}.new"
        with fresh.open("wb") as file:
            torch.save(state | {"identity": self.identity}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(folder / FILE)

    def remove(self) -> None:
        """Forget the state: the model is written, or the training cannot succeed."""
        shutil.rmtree(self.into / STATE, ignore_errors=True)


def save_model(model: PreTrainedModel, start: str, into: Path, *, trust_remote_code: bool) -> None:
    """Write a finished transformers folder: weights, configuration, tokenizer and template, generation settings."""
    with quiet():
        cast(Any, model).save_pretrained(into)
    open_tokenizer(start, trust_remote_code=trust_remote_code).save(into)
    given = resolve(start) / "generation_config.json"
    if given.is_file() and cast(Any, model).can_generate():
        # As it was: save_pretrained rewrites it, and some releases refuse files that others have published.
        shutil.copyfile(given, into / given.name)
