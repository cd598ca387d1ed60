"""A program: trains a tiny model for real, in children that are killed inside the training, then undisturbed."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from fake_recipes import Heard, write_recipe
from selfboost import check_function, recipe
from selfboost.demo import EMBEDDED_MODEL
from selfboost.loop import boost


class DiesAt(Heard):
    """Dies at a step of the policy's training."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step, self.policy = step, False

    def started(self, stage: str, verb: str, total: int) -> None:
        self.policy = stage.endswith("/policy")

    def progress(self, done: int, total: int, tokens: int) -> None:
        if self.policy:
            print(f"step {done}", flush=True)
            if done == self.step:
                os.kill(os.getpid(), signal.SIGKILL)


def tiny_model(folder: Path) -> None:
    """A random model of two layers with the embedded model's tokenizer."""
    folder.mkdir()
    for file in EMBEDDED_MODEL.glob("*"):
        if file.name.startswith(("tokenizer", "chat_template")):
            (folder / file.name).write_bytes(file.read_bytes())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@check_function
def is_echo(prompt: str, answer: str) -> bool:
    """All that is asked of what a random model says."""
    return prompt == answer


def tiny_recipe(folder: Path, training: dict[str, Any], trainer: dict[str, Any]) -> recipe.Recipe:
    """One iteration of SPIN on a tiny model; `training` and `trainer` change single settings."""
    tiny_model(folder / "model")
    path = write_recipe(
        folder,
        "spin",
        run={"iterations": 1},
        model={"path": "model"},
        benchmark={"samples": 1, "greedy": False, "max_tokens": 8},
        benchmark__scorer={"function": "train_and_die:is_echo"},
        method__sampling={"max_tokens": 8},
        training={"batch_size": 2, "learning_rate": 1e-2, **training},
        engine={"kind": "local", "dtype": "float32"},
        trainer={"kind": "local", "dtype": "float32", "checkpoint_seconds": 1e-6, **trainer},
    )
    return recipe.read(path, trust="train_and_die")


def main(folder: Path, training: dict[str, Any], trainer: dict[str, Any]) -> None:
    """Two deaths, the end, and an undisturbed run beside it."""
    torch.set_num_threads(1)
    chosen = tiny_recipe(folder, training, trainer)
    for name, step in (("killed", 1), ("killed", 3), ("killed", 0), ("whole", 0)):
        print(f"{name} {step}", flush=True)
        if (child := os.fork()) == 0:
            boost(chosen, folder / name, DiesAt(step))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(f"ended {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(json.loads, sys.argv[2:]))
