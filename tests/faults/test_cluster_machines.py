"""Ray clusters of their own: several machines of which one is lost, a run killed and resumed, models of PyTorch."""

import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from fake_recipes import Heard, run, write_recipe
from selfboost import recipe
from selfboost.cluster.ray import RayCrew
from selfboost.demo import EMBEDDED_MODEL
from selfboost.loop import boost
from selfboost.records import Origin, Sampling, user_prompt
from selfboost.run import Run
from selfboost.stages import Silent

ray: Any = pytest.importorskip("ray", reason="ray is not installed (pip install 'selfboost[ray]')")

pytestmark = pytest.mark.slow
QUIET = {"log_to_driver": False, "logging_level": "CRITICAL"}


def record_files(root: Path) -> dict[str, str]:
    """The SHA-256 of every record file."""
    found = sorted(root.rglob("records.jsonl"))
    return {str(path.relative_to(root)): sha256(path.read_bytes()).hexdigest() for path in found}


class RemovesAMachine(Heard):
    """Removes one of the cluster's machines in the middle of a stage."""

    crew: RayCrew
    machines: dict[str, Any]
    removed = ""

    def progress(self, done: int, total: int, tokens: int) -> None:
        if done >= 256 and not self.removed:
            self.removed, node = self.machines.popitem()
            node.kill_all_processes(check_alive=False, allow_graceful=False)


def test_a_machine_that_is_lost_changes_nothing(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    path = write_recipe(tmp_path)
    prompts = [user_prompt(f"What of thing {i}?", Origin(source="seed")) for i in range(2000)]
    whole = Run(recipe.read(path), tmp_path / "whole", Heard())
    whole.sample("prepare/x", whole.initial, prompts, Sampling(max_tokens=60))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    listener = RemovesAMachine()
    try:
        listener.machines = {f"machine {i}": cluster.add_node(num_cpus=1) for i in range(2)}
        cluster.wait_for_nodes()
        settings = ["cluster.kind=ray", f"cluster.address={cluster.address}", "cluster.replicas=2"]
        read = recipe.read(path, [*settings, "engine.seconds_per_answer=0.005"])
        (tmp_path / "ray").mkdir()
        run = Run(read, tmp_path / "ray", listener)
        with run.cluster:
            run.sample("prepare/x", run.initial, prompts, Sampling(max_tokens=60))
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert listener.removed
    assert record_files(tmp_path / "ray") == record_files(tmp_path / "whole")


def started(path: Path, root: Path) -> subprocess.Popen[bytes]:
    settings = ["cluster.kind=ray", "cluster.replicas=2", "engine.seconds_per_answer=0.01"]
    command = [sys.executable, "-m", "selfboost", "run", str(path), "--into", str(root)]
    return subprocess.Popen([*command, *(f"--set={each}" for each in settings)], stdout=subprocess.PIPE)


def test_a_killed_run_resumes_after_the_last_block_and_leaves_no_process(tmp_path: Path) -> None:
    many = {"benchmark": {"samples": 128, "greedy": False}, "run": {"iterations": 1}}
    path, root = write_recipe(tmp_path, "spin", **many), tmp_path / "ray"
    run(path, tmp_path / "whole")
    child = started(path, root)
    end = time.monotonic() + 120
    while not any(root.glob("stages/*/*.partial-*/records.jsonl")) and time.monotonic() < end:
        time.sleep(0.01)
    (partial,) = root.glob("stages/*/*.partial-*/records.jsonl")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    left, inode = partial.read_bytes(), partial.stat().st_ino
    assert left.count(b"\n") % 64 == 0
    again = started(path, root)
    written, _ = again.communicate(timeout=300)
    assert again.returncode == 0, written
    sealed = partial.parents[1] / partial.parent.name.partition(".partial")[0] / partial.name
    assert sealed.stat().st_ino == inode
    assert sealed.read_bytes().startswith(left)
    assert record_files(root) == record_files(tmp_path / "whole")


def test_models_of_pytorch_give_the_same_bits(tmp_path: Path) -> None:
    if not (EMBEDDED_MODEL / "model.safetensors").exists():
        pytest.skip("the embedded model is not here")
    import torch

    changes = [
        "run.threads=1", "run.iterations=1", "run.beside=[]", "run.drift.prompts=20", "engine.batch_size=8",
        "seed.limit=60", "seed.validation=20", "seed.held_out=20", "method.prompts=40", "method.pairs=8",
    ]  # fmt: skip
    before = torch.get_num_threads()
    try:
        for name, more in (("one", []), ("ray", ["cluster.kind=ray", "cluster.replicas=2"])):
            boost(recipe.read(recipe.find("smoke"), [*changes, *more]), tmp_path / name, Silent())
    finally:
        torch.set_num_threads(before)
    assert len(record_files(tmp_path / "one")) > 15
    assert record_files(tmp_path / "ray") == record_files(tmp_path / "one")


def test_workers_may_have_another_python(tmp_path: Path) -> None:
    """`python` names an interpreter: here this one, behind a script."""
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    path = write_recipe(tmp_path, "spin", run={"iterations": 1})
    run(path, tmp_path / "one")
    run(path, tmp_path / "ray", "cluster.kind=ray", f"cluster.python={other}")
    assert record_files(tmp_path / "ray") == record_files(tmp_path / "one")
    assert not ray.is_initialized()
