"""SIGKILL inside a real training: it goes on from its last checkpoint to the same weights. One that cannot go on, since
its numbers are not finite, keeps its last state."""

import importlib.util
import json
import os
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
