"""No warning reaches a user: a whole run with a real model, sampling and training, writes progress alone."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import selfboost

MODEL = Path(selfboost.__file__).parent / "demo" / "assets" / "model" / "model.safetensors"
SMALL = ("run.iterations=1", "seed.limit=40", "seed.validation=10", "seed.held_out=10", "method.prompts=20")
NOISE = ("warning", "deprecated", "[transformers]", "traceback")
"""What Python, libraries and their loggers write into such lines."""


@pytest.mark.slow
@pytest.mark.skipif(not MODEL.exists(), reason="the embedded model is not built here")
def test_a_run_prints_no_warning(tmp_path: Path) -> None:
    """With an adapter where peft is installed; renamed arguments of libraries are errors here."""
    changes = [*SMALL, *(["training.lora_rank=4"] if importlib.util.find_spec("peft") else [])]
    asked = [
        "run",
        "smoke",
        "--into",
        str(tmp_path / "run"),
        *(word for change in changes for word in ("--set", change)),
    ]
    command = [sys.executable, "-W", "error::FutureWarning", "-W", "always::UserWarning", "-m", "selfboost", *asked]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}, timeout=600
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines if any(word in line.lower() for word in NOISE)] == []
    assert any("iteration-1/policy: prefer" in line for line in lines)
