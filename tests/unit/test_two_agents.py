"""`torchrun` on two machines, here two agents on one: killed, preempted and resumed, a run ends with the same bits."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SETTINGS = (
    "run.iterations=1", "run.beside=[]", "method.kind=seed_sft", "seed.limit=80", "seed.validation=10",
    "seed.held_out=10", "benchmark.samples=1", "benchmark.max_tokens=8", "seed_models.sft.batch_size=4",
    "trainer.checkpoint_steps=1",
)  # fmt: skip
SHARED = Path("stages") / "prepare" / "seed_sft" / "model"
ENDED = 400


def agents(into: Path, *settings: str) -> list[subprocess.Popen[str]]:
    """An agent for each of two machines."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    changes = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
    started = []
    for rank in range(2):
        place = ["--nnodes=2", "--nproc-per-node=1", f"--node-rank={rank}", "--master-addr=127.0.0.1"]
        command = [sys.executable, "-m", "torch.distributed.run", *place, f"--master-port={port}", "-m", "selfboost"]
        command += ["run", "smoke", "--into", str(into), *changes]
        own = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        with (into.parent / f"{into.name}-{rank}.log").open("a") as log:
            started.append(subprocess.Popen(command, env=own, stdout=log, stderr=log, text=True))
    return started


def ends(started: list[subprocess.Popen[str]], into: Path) -> tuple[list[int], list[str]]:
    """Exit codes, and all that each has said so far."""
    try:
        codes = [process.wait(timeout=ENDED) for process in started]
    finally:
        for process in started:
            process.kill()
    return codes, [(into.parent / f"{into.name}-{rank}.log").read_text() for rank in range(2)]


def wait_for_step(into: Path, step: int) -> None:
    """Until a training has saved its state after a step."""
    end = time.monotonic() + ENDED
    while time.monotonic() < end:
        with suppress(OSError):
            if any(path.suffix in ("", ".pt") and int(path.name[5:13]) >= step for path in states(into)):
                return
        time.sleep(0.02)
    raise AssertionError(f"no state of step {step}")


def states(into: Path) -> list[Path]:
    """The saved states of the training that is under way."""
    return list(into.glob("stages/prepare/seed_sft*/model/training-state/step-*"))


def child(process: subprocess.Popen[str]) -> int:
    """The process that an agent started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0])


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes under /proc")
@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["false", "true"], ids=["copied", "sharded"])
def test_a_killed_and_preempted_run_ends_with_the_same_bits(tmp_path: Path, sharding: str) -> None:
    setting = f"trainer.sharding={sharding}"
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert ends(agents(whole, setting), whole)[0] == [0, 0]

    started = agents(stopped, setting)
    wait_for_step(stopped, 3)
    os.kill(child(started[1]), signal.SIGKILL)
    codes, said = ends(started, stopped)
    assert 0 not in codes
    assert "lost the others" in said[0]

    started = agents(stopped, setting)
    wait_for_step(stopped, 7)
    for process in started:
        process.send_signal(signal.SIGTERM)
    codes, said = ends(started, stopped)
    assert 0 not in codes
    assert "selfboost: interrupted after step " in said[0]
    assert [path.suffix for path in states(stopped)] in ([""], [".pt"])

    codes, said = ends(agents(stopped, setting), stopped)
    assert codes == [0, 0], said
    found, expected = (load_file(folder / SHARED / "model.safetensors") for folder in (stopped, whole))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
