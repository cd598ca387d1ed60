"""No process of a benchmark outlives it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from running_processes import all_end

ROOT = Path(__file__).parents[2]
LONG = """
from benchmarks.pools import pool

def work(_):
    import os, signal, time
    signal.signal(signal.SIGTERM, lambda *_: None)  # as a training does, which stops after its step
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(60)

if __name__ == "__main__":
    with pool(2, START) as processes:
        list(processes.map(work, range(8)))
"""


@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_processes_of_a_benchmark_that_is_killed_end(start: str, tmp_path: Path) -> None:
    script = tmp_path / "long.py"
    script.write_text(LONG.replace("START", repr(start)))
    with subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as benchmark:
        assert benchmark.stdout is not None
        working = [int(benchmark.stdout.readline()) for _ in range(2)]
        benchmark.send_signal(signal.SIGTERM)
    assert all_end(working, 20)
