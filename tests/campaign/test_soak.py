"""A soak: runs killed at random moments, and disks that are full at random sizes, come to what a whole run comes to.

`SOAK_KILLS` says how many kills (default 50); `CAMPAIGN_SEED` which. A case that fails names its number and seed.
"""

import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "faults"))
from killing import KILLED, finished_stages, fork
from killing import wait as wait_for

from fake_recipes import results, run, write_recipe
from selfboost import cli, recipe
from selfboost.loop import boost
from selfboost.stages import Silent

KILLS = int(os.environ.get("SOAK_KILLS", "50"))
SEED = int(os.environ.get("CAMPAIGN_SEED", "0"))
FULL_DISKS = 20
LARGEST = 60_000
"""Bytes of the largest file that such a disk takes."""
SLOW = {"engine": {"seconds_per_answer": 0.002}, "trainer": {"seconds_per_step": 0.02}}

pytestmark = pytest.mark.slow


def test_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "synpo", run={"iterations": 1}, benchmark={"samples": 1, "greedy": False}, **SLOW)
    chance, chosen, log = random.Random(SEED), recipe.read(path), tmp_path / "log"
    run(path, tmp_path / "whole")
    whole, root, kills, finished = results(tmp_path / "whole"), tmp_path / "killed", 0, 0
    while kills < KILLS or not finished:
        before = finished_stages(root)
        child = fork(lambda: boost(chosen, root, Silent()), log)
        if kills < KILLS:
            time.sleep(chance.uniform(0.01, 0.3))
            os.kill(child, signal.SIGKILL)
        code = wait_for(child)
        assert code in (0, KILLED), f"kill {kills} of CAMPAIGN_SEED={SEED}: {log.read_text()}"
        assert before.items() <= finished_stages(root).items(), f"kill {kills} of CAMPAIGN_SEED={SEED}"
        kills += code == KILLED
        if code == 0:
            assert results(root) == whole, f"kill {kills} of CAMPAIGN_SEED={SEED}"
            shutil.rmtree(root)
            finished += 1
    print(f"{kills} kills, {finished} runs finished, all equal to the whole run")


def test_full_disks_lose_nothing(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "synpo", run={"iterations": 1}, benchmark={"samples": 1, "greedy": False})
    run(path, tmp_path / "whole")
    chance, log, stopped = random.Random(SEED), tmp_path / "log", 0
    for number in range(FULL_DISKS):
        root, size = tmp_path / f"full-{number}", chance.randrange(100, LARGEST)

        def limited(root: Path = root, size: int = size) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            cli.main(["run", str(path), "--into", str(root)])

        code = wait_for(fork(limited, log))
        assert code in (0, 1, 2), f"{size} bytes: {log.read_text()}"
        assert "Traceback" not in log.read_text(), f"{size} bytes"
        stopped += code != 0
        run(path, root)
        assert results(root) == results(tmp_path / "whole"), f"{size} bytes"
    assert stopped
