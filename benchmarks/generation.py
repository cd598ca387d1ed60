"""New tokens per second of the local engine beside transformers, OpenVINO GenAI and llama.cpp.

Random Llamas of 15 million weights (288 hidden, 6 layers) and 60 million (512, 8) with 32,000 words, embeddings not
counted; 64 prompts of 64 tokens, 64 new tokens each, temperature 0.7 and top-p 0.9, no end of sequence. Every
measurement is a process of its own, the sides take turns, and medians are printed. Opening a model is not timed.
Run as `python -m benchmarks.generation [--openvino-python PYTHON] [--llamacpp-python PYTHON] [--only 15M]
[--threads 1,2] [--repeats 3] [--json FILE]`. OpenVINO's Python needs openvino-genai and optimum-intel with its
transformers, but no torchvision; llama.cpp's needs llama-cpp-python and gguf.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.generation_task import CASES, Case
from benchmarks.training import result_of

HELPER = 0.05
"""The least share of the processor time at which a thread is counted."""
PACKAGES = {"openvino": ("openvino_genai", "optimum.intel"), "llama.cpp": ("llama_cpp", "gguf")}
OPTIONS = {"openvino": "--openvino-python", "llama.cpp": "--llamacpp-python"}
ABOUT = f"""\
ratio: ours over this side, CPU in processor time, wall on the clock. Bars are of processor time on one thread, of
wall time on several; OpenVINO samples in a thread beside the one that computes, so on one "thread" it has two.
threads: those that took {HELPER:.0%} of the processor time. greedy: tokens that are `generate`'s own, up to the first
that differs in each row. nats: mean of -log p of the sampled tokens under the model in float32; alike if all sample
alike.
"""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a ratio of ours to a peer should be at least."""

    model: str
    dtype: str
    side: str
    least: float


BARS = (
    Bar(model="15M", dtype="bfloat16", side="generate", least=6.0),
    Bar(model="15M", dtype="float32", side="generate", least=5.0),
    Bar(model="60M", dtype="bfloat16", side="generate", least=4.0),
    Bar(model="60M", dtype="float32", side="generate", least=5.0),
    Bar(model="15M", dtype="bfloat16", side="openvino", least=0.9),
    Bar(model="15M", dtype="float32", side="openvino", least=0.9),
)
SECOND_THREAD = 1.5
"""How many times as fast as one thread two should be, on the clock."""


class Bench:
    """Runs measurements in fresh processes, on models that are written once."""

    def __init__(self, folder: Path, pythons: dict[str, str]) -> None:
        self._folder, self._pythons = folder, pythons

    def prepare(self, case: Case) -> Path:
        """The case's model, written unless it has been."""
        folder = self._place(case)
        if not folder.exists():
            folder.mkdir()
            self._process(case, "prepare", 1)
        return folder

    def run(self, case: Case, side: str, threads: int) -> dict[str, Any]:
        """Measure one side once."""
        found = self._process(case, side, threads)
        print(f"{case.name}, {threads} thread(s), {side}: {rate([found], threads):.0f} tok/s", file=sys.stderr)
        return found

    def nats(self, case: Case, samples: dict[str, Any]) -> dict[str, float]:
        """How likely each side's samples are under the model."""
        (self.prepare(case) / "samples.json").write_text(json.dumps(samples), encoding="utf-8")
        return self._process(case, "nats", 1)

    def _place(self, case: Case) -> Path:
        return self._folder / f"{case.model}-{case.flatness}-{case.dtype}"

    def _process(self, case: Case, side: str, threads: int) -> Any:
        of_case = {"folder": self._place(case), "model": case.model, "flatness": case.flatness, "dtype": case.dtype}
        command = [self._pythons.get(side, sys.executable), "-m", "benchmarks.generation_side", side]
        for name, value in {**of_case, "threads": threads}.items():
            command += [f"--{name}", str(value)]
        return result_of(command, threads, self._folder)


def rate(runs: Sequence[dict[str, Any]], threads: int) -> float:
    """Tokens per second: of processor time, which a busy machine disturbs least, or for several threads on the wall."""
    return median_rate(runs, "processor_s" if threads == 1 else "wall_s")


def median_rate(runs: Sequence[dict[str, Any]], clock: str) -> float:
    """Median over runs of tokens per second of a clock."""
    return statistics.median(run["tokens"] / run[clock] for run in runs)


def busy_threads(run: dict[str, Any]) -> int:
    """Threads that took part; those that have ended count as one."""
    ended = run["processor_s"] - sum(run["threads_s"])
    return sum(seconds > HELPER * run["processor_s"] for seconds in [*run["threads_s"], ended])


def same_tokens(rows: Sequence[Sequence[int]], reference: Sequence[Sequence[int]]) -> int:
    """Tokens that are the reference's own, up to the first that differs in each row."""
    return sum(
        next((at for at, (one, other) in enumerate(zip(row, known, strict=True)) if one != other), len(row))
        for row, known in zip(rows, reference, strict=True)
    )


def measure(bench: Bench, case: Case, threads: int, sides: Sequence[str], repeats: int) -> Iterator[dict[str, Any]]:
    """All sides of a case in turn, as often as asked; a row of the table for each."""
    bench.prepare(case)
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side in sides:
            runs[side].append(bench.run(case, side, threads))
    nats = bench.nats(case, {side: found[0]["samples"] for side, found in runs.items()})
    for side, found in runs.items():
        ratios = {
            clock: [
                one["tokens"] / one[clock] * other[clock] / other["tokens"]
                for one, other in zip(runs["ours"], found, strict=True)
            ]
            for clock in ("processor_s", "wall_s")
        }
        reference = runs["generate"][0]["greedy"]
        yield asdict(case) | {
            "name": case.name,
            "side": side,
            "threads": threads,
            "tokens_per_processor_s": median_rate(found, "processor_s"),
            "tokens_per_wall_s": median_rate(found, "wall_s"),
            "ratios": ratios,
            "busy_threads": max(map(busy_threads, found)),
            "greedy_same": same_tokens(found[0]["greedy"], reference),
            "greedy_tokens": sum(map(len, reference)),
            "nats": nats[side],
        }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A block for each case and number of threads."""
    lines: list[str] = []
    for row in rows:
        title = f"{row['name']}, {row['threads']} thread(s)"
        if title not in lines:
            lines += [
                title,
                f"  {'':14} {'tok/CPU-s':>9} {'tok/s':>6}  {'ratio, CPU':>20}  {'wall':>5}  threads     greedy   nats",
            ]
        cpu, wall = row["ratios"]["processor_s"], row["ratios"]["wall_s"]
        between = f"{statistics.median(cpu):.2f} ({min(cpu):.2f} to {max(cpu):.2f})"
        lines.append(
            f"  {row['side']:14} {row['tokens_per_processor_s']:9.0f} {row['tokens_per_wall_s']:6.0f}  {between:>20}"
            f"  {statistics.median(wall):5.2f}  {row['busy_threads']:7} {row['greedy_same']:5}/{row['greedy_tokens']}"
            f"  {row['nats']:5.2f}"
        )
    return "\n".join(lines)


def verdicts(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """How the ratios compare with the bars."""
    for row in rows:
        for bar in BARS:
            if (row["model"], row["dtype"], row["side"]) == (bar.model, bar.dtype, bar.side):
                found = statistics.median(row["ratios"]["processor_s" if row["threads"] == 1 else "wall_s"])
                what = f"{row['name']}, {row['threads']} thread(s): ours over {bar.side} {found:.2f}"
                yield f"{what}, bar {bar.least}: {'met' if found >= bar.least else 'missed'}"
    rates = {(row["name"], row["threads"]): row["tokens_per_wall_s"] for row in rows if row["side"] == "ours"}
    for name, threads in rates:
        if threads == 2 and (name, 1) in rates:
            found = rates[name, 2] / rates[name, 1]
            what = f"{name}: a second thread makes ours {found:.2f} times as fast"
            yield f"{what}, bar {SECOND_THREAD}: {'met' if found >= SECOND_THREAD else 'missed'}"


def require(side: str, python: str) -> None:
    """Refuse an interpreter that is not there or lacks a peer's packages."""
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)"
    try:
        done = subprocess.run([python, "-c", code, *PACKAGES[side]], capture_output=True, text=True)
    except OSError as error:
        raise SystemExit(f"{OPTIONS[side]} {python}: cannot be started ({error.strerror}); name a Python") from error
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        needed = " and ".join(PACKAGES[side])
        raise SystemExit(f"{OPTIONS[side]} {python}: cannot import {needed} ({why}); name a Python that can")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openvino-python", help="interpreter that has openvino-genai and optimum-intel")
    parser.add_argument("--llamacpp-python", help="interpreter that has llama-cpp-python and gguf")
    parser.add_argument("--only", default="", help="part of the names of the rows to measure")
    parser.add_argument("--threads", default="1", help="numbers of threads, as 1,2")
    parser.add_argument("--repeats", type=int, default=3, help="measured repeats, the sides in turn")
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    arguments = parser.parse_args()
    words = arguments.threads.split(",")
    if not all(word.isdecimal() and int(word) for word in words) or arguments.repeats < 1:
        parser.error("--threads takes numbers from 1, as in 1,2, and --repeats one from 1")
    arguments.threads = [int(word) for word in words]
    return arguments


def main() -> None:
    """Measure, print, and write the rows where asked."""
    arguments = parse()
    cases = [case for case in CASES if arguments.only in case.name]
    if not cases:
        raise SystemExit(f"--only {arguments.only}: no row is named so; rows: {'; '.join(case.name for case in CASES)}")
    given = {"openvino": arguments.openvino_python, "llama.cpp": arguments.llamacpp_python}
    pythons = {side: python for side, python in given.items() if python}
    for side, python in pythons.items():
        require(side, python)
    sides = ("ours", "generate", "generate_batch", *pythons)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), pythons)
        for case in cases:
            for threads in arguments.threads:
                found += measure(bench, case, threads, sides, arguments.repeats)
                if arguments.json:
                    arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(table(found))
    print("\n".join(verdicts(found)))
    print(ABOUT, end="")


if __name__ == "__main__":
    main()
