"""SIGKILL inside a real training: it goes on from its last checkpoint to the same weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fake_recipes import results
from selfboost.recipe import EMBEDDED_MODEL


@pytest.mark.skipif(not (EMBEDDED_MODEL / "tokenizer.json").exists(), reason="the embedded tokenizer is not here")
def test_a_real_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{here}:{here.parent}", "HF_HUB_OFFLINE": "1"}
    program = [sys.executable, str(here / "train_and_die.py"), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    story = " ".join(done.stdout.splitlines())
    # What a checkpoint holds is not trained again: it was written before its step was told.
    assert story == (
        "killed 1 step 1 ended -9 killed 3 step 2 step 3 ended -9 killed 0 step 4 ended 0 "
        "whole 0 step 1 step 2 step 3 step 4 ended 0"
    ), done.stderr
    killed, whole = results(tmp_path / "killed"), results(tmp_path / "whole")
    weights = "stages/iteration-1/policy/model/model.safetensors"
    assert killed[weights] == whole[weights]
    for name, value in whole.items():
        if name != "stages/iteration-1/policy/stage.json":  # its history tells tokens per second
            assert killed[name] == value, name
