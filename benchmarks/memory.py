"""Memory of a run on the fake engine: the peak of many prompts as a ratio to that of few.

python benchmarks/memory.py --prompts 20000
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

FEW = 200
RECIPE = """
[run]
iterations = 1
[model]
path = "fake"
[seed]
path = "seed.jsonl"
validation = 8
held_out = 8
[method]
kind = "spin"
distributions = {pairs = 0, prompts = 0}
[loss]
kind = "dpo"
[scorer]
kind = "implicit"
[benchmark]
kind = "held_out"
samples = 1
greedy = false
scorer = {kind = "checks", function = "selfboost.engines.fake:is_good"}
[engine]
kind = "fake"
[trainer]
kind = "fake"
"""


def one_run(prompts: int, folder: Path) -> int:
    """Run self-play on this many prompts in a process of its own; its peak in bytes."""
    folder.mkdir()
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    with (folder / "seed.jsonl").open("w", encoding="utf-8") as file:
        for i in range(prompts + 16):
            file.write(json.dumps({"prompt": f"Compare item {i} with item {i * 7}?", "response": f"Good {i}."}) + "\n")
    command = [sys.executable, __file__, "--inside", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


def inside(folder: Path) -> None:
    """The run itself; prints the peak of this process in bytes."""
    from selfboost import boost, read_recipe
    from selfboost.stages import Silent

    boost(read_recipe(folder / "recipe.toml"), folder / "run", Silent())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> None:
    """Two runs, their peaks, and what each further prompt costs."""
    parsing = argparse.ArgumentParser(description=__doc__)
    parsing.add_argument("--prompts", type=int, default=20_000)
    parsing.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parsing.parse_args()
    if arguments.inside:
        inside(arguments.inside)
        return
    with tempfile.TemporaryDirectory() as folder:
        few = one_run(FEW, Path(folder) / "few")
        many = one_run(arguments.prompts, Path(folder) / "many")
    each = (many - few) / (arguments.prompts - FEW)
    print(f"{FEW:,} prompts {few / 2**20:,.0f} MB, {arguments.prompts:,} prompts {many / 2**20:,.0f} MB")
    print(f"ratio {many / few:.2f}, {each / 1000:.1f} kB a prompt")


if __name__ == "__main__":
    main()
