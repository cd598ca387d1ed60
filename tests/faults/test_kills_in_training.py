"""SIGKILL inside a real training: it goes on from its last checkpoint to the same weights. One that cannot go on, since
its numbers are not finite, keeps its last state."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from train_and_die import tiny_recipe

from fake_recipes import Heard, results
from selfboost.demo import EMBEDDED_MODEL
from selfboost.loop import boost
from selfboost.views.summary import summary

pytestmark = pytest.mark.skipif(
    not (EMBEDDED_MODEL / "tokenizer.json").exists(), reason="the embedded tokenizer is not here"
)
ADAPTER = {"lora_rank": 2, "ema_decay": 0.5}


@pytest.mark.parametrize(
    ("training", "trainer"),
    [({}, {}), pytest.param(ADAPTER, {"dtype": "bfloat16", "keep_states": 2}, marks=pytest.mark.slow)],
    ids=["whole", "an averaged adapter in bfloat16"],
)
def test_a_real_training_goes_on_from_its_checkpoint(
    tmp_path: Path, training: dict[str, Any], trainer: dict[str, Any]
) -> None:
    if "lora_rank" in training and not importlib.util.find_spec("peft"):
        pytest.skip("needs the extra `lora`")
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{here}:{here.parent}", "HF_HUB_OFFLINE": "1"}
    program = [sys.executable, str(here / "train_and_die.py"), str(tmp_path), json.dumps(training), json.dumps(trainer)]
    done = subprocess.run(program, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    story = " ".join(done.stdout.splitlines())
    # What a checkpoint holds is not trained again: it was written before its step was told.
    assert story == (
        "killed 1 step 1 ended -9 killed 3 step 2 step 3 ended -9 killed 0 step 4 step 5 ended 0 "
        "whole 0 step 1 step 2 step 3 step 4 step 5 ended 0"
    ), done.stderr
    killed, whole = results(tmp_path / "killed"), results(tmp_path / "whole")
    weights = "stages/iteration-1/policy/model/model.safetensors"
    assert killed[weights] == whole[weights]
    for name, value in whole.items():
        if name != "stages/iteration-1/policy/stage.json":  # its history tells tokens per second
            assert killed[name] == value, name


def test_a_training_that_blows_up_keeps_its_last_state_in_the_run(tmp_path: Path) -> None:
    tame = tiny_recipe(tmp_path, {"warmup": 0.0}, {})
    wild = replace(tame, training=replace(tame.training, learning_rate=1e30))  # a recipe's own may not be as high
    said = []
    for _ in range(2):
        with pytest.raises(
            FloatingPointError, match=r"the last state before it is kept in .*\.pt\. A smaller"
        ) as error:
            boost(wild, tmp_path / "run", Heard())
        kept = sorted((tmp_path / "run").rglob("training-state/*"))
        said.append((str(error.value), [(path, path.read_bytes()) for path in kept]))
    assert said[0] == said[1]
    ((path, _),) = said[0][1]
    assert str(path) in said[0][0]


class Interrupts(Heard):
    """Presses Ctrl-C after a step of the policy's training, and remembers the steps."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.policy = at, False
        self.steps: list[int] = []

    def started(self, stage: str, verb: str, total: int) -> None:
        self.policy = stage.endswith("/policy")

    def progress(self, done: int, total: int, tokens: int) -> None:
        if self.policy:
            self.steps.append(done)
            if done == self.at:
                os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_saves_the_state_at_once_and_show_says_so(devices: int, tmp_path: Path) -> None:
    """The next state is due in an hour."""
    chosen = tiny_recipe(tmp_path, {"epochs": 2.0}, {"checkpoint_seconds": 3600.0, "devices": devices, "device": "cpu"})
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="after step 4 of 10 of a training; its state is saved"):
        boost(chosen, tmp_path / "run", Interrupts(3))
    told = summary(tmp_path / "run")
    assert (told.status, [stage.step for stage in told.unfinished]) == ("stopped", [4])
    assert told.seconds > 0
    assert signal.getsignal(signal.SIGINT) == before
    rest = Interrupts(0)
    boost(chosen, tmp_path / "run", rest)
    assert rest.steps == [5, 6, 7, 8, 9, 10]
    assert summary(tmp_path / "run").unfinished == ()
