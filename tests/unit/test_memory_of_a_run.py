"""A run's memory stays bounded, and its processor time for each prompt flat, as its prompts grow.

MEMORY_PROMPTS=200000 runs the size that the bound is about (a quarter of an hour of processor time); a smaller one is
extended to it along a line, since what grows does so with each prompt.
"""

import os
from pathlib import Path

import pytest

FEW, MANY = 2_000, int(os.environ.get("MEMORY_PROMPTS", "20000"))
BOUNDED = 200_000
BOUND = 10**9
"""Bytes at most for so many prompts."""


@pytest.mark.slow
def test_memory_and_time_of_many_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from benchmarks.memory import one_run

    costs = []
    for prompts in (FEW, MANY):
        (folder := tmp_path / str(prompts)).mkdir()
        costs.append(one_run("synpo", prompts, folder))
    few, many = costs
    a_prompt = (many.peak_bytes - few.peak_bytes) / (MANY - FEW)
    assert few.peak_bytes + a_prompt * (max(BOUNDED, MANY) - FEW) < BOUND
    assert many.cpu_seconds / MANY < 1.3 * few.cpu_seconds / FEW
