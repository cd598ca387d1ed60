"""Memory and CPU time of a run on the fake engine as its prompts grow: a bounded peak, and flat time per prompt.

python benchmarks/memory.py --prompts 2000 20000 200000 --method synpo
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SEEDS = 200
"""Of a method that writes its own prompts."""
PARAGRAPHS = 20_000
METHODS = {
    "spin": """[method]
kind = "spin"
distributions = {pairs = 0, prompts = 0}
[loss]
kind = "dpo"
""",
    "synpo": """[method]
kind = "synpo"
prompts = PROMPTS
pairs = PAIRS
generator = {paragraphs = "paragraphs.txt"}
filter = {threshold = 0.0}
[loss]
kind = "simpo"
""",
}
RECIPE = """
[run]
iterations = 1
[model]
path = "fake"
[seed]
path = "seed.jsonl"
validation = 8
held_out = 8
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


@dataclass(frozen=True)
class Cost:
    """What a run took."""

    peak_bytes: int
    cpu_seconds: float


def one_run(method: str, prompts: int, folder: Path) -> Cost:
    """Run a method on this many prompts in a process of its own."""
    text = METHODS[method].replace("PROMPTS", str(prompts)).replace("PAIRS", str(prompts // 4)) + RECIPE
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    write_seed(folder / "seed.jsonl", prompts if method == "spin" else SEEDS)
    write_paragraphs(folder / "paragraphs.txt")
    command = [sys.executable, __file__, "--inside", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(**json.loads(done.stdout))


def write_seed(path: Path, seeds: int) -> None:
    """Made-up questions with answers; 16 more to measure on."""
    with path.open("w", encoding="utf-8") as file:
        for i in range(seeds + 16):
            file.write(json.dumps({"prompt": f"Compare item {i} with item {i * 7}?", "response": f"Good {i}."}) + "\n")


def write_paragraphs(path: Path) -> None:
    """Made-up texts to draw keywords from."""
    words = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("ola", "eri", "unta", "ami") for c in "bdfgklmnprst"]
    with path.open("w", encoding="utf-8") as file:
        for i in range(PARAGRAPHS):
            chosen = (words[(i * 31 + j * j * 17 + i // 500 * j) % len(words)] for j in range(12))
            file.write(" ".join(chosen) + "\n\n")


def inside(folder: Path) -> None:
    """The run itself; prints what it took."""
    from selfboost import boost, read_recipe
    from selfboost.stages import Silent

    boost(read_recipe(folder / "recipe.toml"), folder / "run", Silent())
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"peak_bytes": used.ru_maxrss * 1024, "cpu_seconds": used.ru_utime + used.ru_stime}))


def main() -> None:
    """A run of each size; its peak, and the CPU time of a prompt as a ratio to that of the smallest run."""
    parsing = argparse.ArgumentParser(description=__doc__)
    parsing.add_argument("--prompts", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    parsing.add_argument("--method", choices=METHODS, default="synpo")
    parsing.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parsing.parse_args()
    if arguments.inside:
        inside(arguments.inside)
        return
    base = 0.0
    for prompts in arguments.prompts:
        with tempfile.TemporaryDirectory() as folder:
            cost = one_run(arguments.method, prompts, Path(folder))
        each = cost.cpu_seconds / prompts
        base = base or each
        print(
            f"{arguments.method} {prompts:>9,} prompts: peak {cost.peak_bytes / 2**20:>7,.0f} MB, "
            f"CPU {each * 1000:.2f} ms a prompt ({each / base:.2f} of the smallest run's)",
            flush=True,
        )


if __name__ == "__main__":
    main()
