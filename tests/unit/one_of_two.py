"""One of two launched processes: `one_of_two.py train|read|wait|fail START FOLDER`, its rank in the environment."""

import sys
import time
from pathlib import Path

import torch
from train_records import examples, model

from selfboost.train import Training
from selfboost.train.devices.parallel import World, conduct, dismiss, join_launched
from selfboost.train.local import Local


def progress(done: int, total: int, tokens: int) -> None:
    print(f"step {done}", flush=True)


def read(world: World) -> None:
    """Each looks for states in a working directory of its own."""
    from selfboost.train.steps.checkpoints import StateFolder  # transformers takes seconds to import

    StateFolder(Path("folder").absolute(), "identity").read(world)


def main(what: str, start: str, folder: str) -> None:
    torch.set_num_threads(1)
    if not join_launched():
        return
    if what == "wait":  # as a run that samples for long
        print("waits", flush=True)
        time.sleep(100)
        return
    if what == "fail":
        dismiss("there is no such recipe")
        sys.exit(2)
    if what == "read":
        conduct(1, read, read)
        return
    local = Local(device="cpu", dtype="float32", micro_batch_tokens=60, checkpoint_steps=1, timeout_seconds=20)
    training = Training(learning_rate=1e-2, batch_size=3, epochs=2)
    Path(folder).mkdir(exist_ok=True)
    local.finetune(model(start), examples(), training, into=Path(folder), seed=0, progress=progress)
    print("whole", flush=True)


if __name__ == "__main__":
    from one_of_two import main as named  # what is sent to the other process needs a module's name

    named(*sys.argv[1:])
