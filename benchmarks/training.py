"""Preference training beside TRL: tokens per second, memory above the loaded model, share of the machine's GEMM rate.

Both sides train the same random Llama on the same token ids in the same batches, in turn, each in a process of its own.
Run as `python -m benchmarks.training --peer-python PYTHON_WITH_TRL [--quick] [--only 15m/simpo] [--json FILE]`.
Leaves out everything but the steps: loading, the stored reference's log-probabilities and saving are not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}
EVERYDAY = ("15m", "60m/*/bf16/default", "60m/*/bf16/stored")
QUICK = ("15m/simpo/bf16/default", "15m/dpo/bf16/stored")
WARM_UP = 2
MEMORY_STEPS = 2
"""The first allocates the optimiser's moments, the second reaches the peak."""
FREED_MEMORY_STAYS = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**36)}
"""For the clocks alone: how long a kernel takes to hand out memory anew differs tenfold between machines, and would
weigh on the side that needs more of it. Memory is measured in runs without this."""
ABOUT = f"""\
tok/s: tokens of both rows of every pair, per second (of processor time on one thread, else of wall
time) of an optimiser step with clipping and AdamW; median over steps, after {WARM_UP} of warm-up, and repeats.
MiB: peak resident memory less what was resident when the model was loaded.
GEMM: operations that our step cannot do without, as a share of the rate of matrix products in the
same process: {{gemm}}.
bf16: TRL runs autocast over float32 weights, its own setting, or, named so, bf16 weights without
float32 masters; ours has bf16 weights with float32 masters.
TRL {{version}}: fused AdamW, {{pairs}} pairs a pass, no gradient checkpointing, no logging.
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison: our side of a method against one way to run TRL."""

    model: str
    method: str
    precision: str
    variant: str
    label: str
    threads: int
    peer_options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What `--only` is matched against."""
        return f"{self.model}/{self.method}/{self.precision}/{self.variant}"

    @property
    def group(self) -> tuple[str, str, str, int]:
        """Rows alike in this share our side's measurements."""
        return self.model, self.method, self.precision, self.threads


def all_rows(threads: int) -> list[Row]:
    """Every comparison."""
    rows: list[Row] = []
    for model in ("15m", "60m"):
        for precision in PRECISIONS:
            row = partial(Row, model=model, precision=precision, threads=threads)
            bf16_weights = ("--weights", "bfloat16")
            rows.append(row(method="simpo", variant="default", label="SimPO"))
            if precision == "bf16":
                label = "SimPO, TRL bf16 weights"
                rows.append(row(method="simpo", variant="weights", label=label, peer_options=bf16_weights))
            rows.append(row(method="dpo", variant="stored", label="DPO, TRL precomputed"))
            if precision == "bf16":
                label = "DPO, TRL prec., bf16 weights"
                rows.append(row(method="dpo", variant="weights", label=label, peer_options=bf16_weights))
            online = ("--reference", "online")
            rows.append(row(method="dpo", variant="online", label="DPO, TRL online", peer_options=online))
    return rows


class Bench:
    """Runs measurements in fresh processes, on models that are written once."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        self.folder, self.peer_python = folder, arguments.peer_python
        self.peer_options = ("--micro-batch", str(arguments.peer_micro_batch))
        self.timed_allocator = {} if arguments.system_allocator else FREED_MEMORY_STAYS
        self.steps = WARM_UP + arguments.steps
        self.found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}

    def measure(self, row: Row, side: str, *, memory: bool) -> None:
        """Run one side of a comparison once."""
        options = row.peer_options if side == "trl" else ()
        steps = MEMORY_STEPS if memory else self.steps
        result = self._run(row, side, steps, options, {} if memory else self.timed_allocator)
        self.found.setdefault((row.group, side, options, memory), []).append(result)
        said = f"{memory_mib([result]):.0f} MiB" if memory else f"{rate(row, [result]):.0f} tok/s"
        print(f"{row.name}, {row.threads} thread(s), {side}: {said}", file=sys.stderr, flush=True)

    def runs(self, row: Row, side: str, *, memory: bool) -> list[dict[str, Any]]:
        """What was measured of one side of a comparison."""
        return self.found.get((row.group, side, row.peer_options if side == "trl" else (), memory), [])

    def _run(self, row: Row, side: str, steps: int, options: Sequence[str], allocator: dict[str, str]) -> Any:
        model = self.folder / row.model
        if not model.exists():
            model.mkdir()
            counts = [str(MEMORY_STEPS), str(self.steps)]
            self._process("ours", ["prepare", "--folder", str(model), "--model", row.model, "--steps", *counts], 1, {})
        case = [side, "--folder", str(model), "--model", row.model, "--method", row.method, "--steps", str(steps)]
        case += ["--precision", PRECISIONS[row.precision], "--threads", str(row.threads)]
        case += [*options, *self.peer_options] if side == "trl" else []
        return self._process(side, case, row.threads, allocator)

    def _process(self, side: str, case: list[str], threads: int, allocator: dict[str, str]) -> Any:
        python = self.peer_python if side == "trl" else sys.executable
        return result_of([python, "-m", "benchmarks.training_side", *case], threads, self.folder, allocator)


def result_of(command: Sequence[str], threads: int, folder: Path, more: Mapping[str, str] | None = None) -> Any:
    """The JSON that a side prints, as a process with so many threads that asks no network; `more`: of its environment.

    Raises:
        SystemExit: it failed.
    """
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hub"),
    }
    done = subprocess.run(command, env=environment | dict(more or {}), cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def seconds(row: Row, run: dict[str, Any]) -> list[float]:
    """Of each step after the warm-up: processor time, which a busy machine disturbs least, or wall time for threads."""
    return run["processor_s" if row.threads == 1 else "wall_s"][WARM_UP - 1 :]


def rate(row: Row, runs: list[dict[str, Any]], what: str = "tokens") -> float:
    """Tokens or operations per second: the median over steps, then over runs."""
    return statistics.median(
        statistics.median(n / s for n, s in zip(run[what][WARM_UP - 1 :], seconds(row, run), strict=True))
        for run in runs
    )


def memory_mib(runs: list[dict[str, Any]]) -> float:
    """Peak above the loaded model."""
    return statistics.median(run["peak_mib"] - run["loaded_mib"] for run in runs)


def summary(bench: Bench, row: Row) -> dict[str, Any]:
    """One line of the table, with all that was measured."""
    ours, trl = (bench.runs(row, side, memory=False) for side in ("ours", "trl"))
    our_memory, trl_memory = (memory_mib(bench.runs(row, side, memory=True)) for side in ("ours", "trl"))
    gemm = statistics.median(run["gemm_flops_per_s"] for run in ours)
    return {
        "name": row.name,
        "model": row.model,
        "precision": row.precision,
        "label": row.label,
        "threads": row.threads,
        "ours_tokens_per_s": rate(row, ours),
        "trl_tokens_per_s": rate(row, trl),
        "speed_ratio": rate(row, ours) / rate(row, trl),
        "ours_mib": our_memory,
        "trl_mib": trl_memory,
        "memory_ratio": trl_memory / our_memory,
        "gemm_gflops": gemm / 1e9,
        "utilisation": rate(row, ours, "flops") / gemm,
        "trl_utilisation": rate(row, trl, "flops") / gemm,
        "first_loss_ours": ours[0]["losses"][0],
        "first_loss_trl": trl[0]["losses"][0],
        "runs": {
            f"{side}{' memory' if memory else ''}": bench.runs(row, side, memory=memory)
            for side in ("ours", "trl")
            for memory in (False, True)
        },
    }


def table(found: list[dict[str, Any]]) -> str:
    """At most 100 columns."""
    lines = [
        f"{'':35}  {'tok/s':>6} {'':>6} {'':>6}  {'MiB':>6} {'':>6} {'':>6}  {'GEMM':>6}  {'first loss':>15}",
        f"{'model, precision, method':35}  {'ours':>6} {'TRL':>6} {'ratio':>6}  {'ours':>6} {'TRL':>6} {'ratio':>6}"
        f"  {'ours':>6}  {'ours':>7} {'TRL':>7}",
    ]
    for row in found:
        threads = f" x{row['threads']}" if row["threads"] > 1 else ""
        name = f"{row['model']} {row['precision']} {row['label']}{threads}"
        lines.append(
            f"{name:35}  {row['ours_tokens_per_s']:6.0f} {row['trl_tokens_per_s']:6.0f} {row['speed_ratio']:5.2f}x"
            f"  {row['ours_mib']:6.0f} {row['trl_mib']:6.0f} {row['memory_ratio']:5.2f}x"
            f"  {row['utilisation']:6.0%}  {row['first_loss_ours']:7.4f} {row['first_loss_trl']:7.4f}"
        )
    return "\n".join(lines)


def gemm_rates(found: list[dict[str, Any]]) -> str:
    """The rates that the shares are of: the median over rows of each precision and number of threads."""
    rates: dict[str, list[float]] = {}
    for row in found:
        rates.setdefault(f"{row['precision']} on {row['threads']} thread(s)", []).append(row["gemm_gflops"])
    return ", ".join(f"{name} {statistics.median(values):.0f} GFLOP/s" for name, values in rates.items())


def peer_version(python: str) -> str:
    """TRL's version under an interpreter."""
    done = subprocess.run([python, "-c", "import trl; print(trl.__version__)"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"TRL cannot be imported by {python}: name an interpreter that has it with --peer-python")
    return done.stdout.strip()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has TRL (default: this one)")
    parser.add_argument("--peer-micro-batch", type=int, default=8, choices=(1, 2, 4, 8), help="TRL: pairs a pass")
    parser.add_argument("--json", type=Path, help="file to write all measurements to")
    parser.add_argument("--only", action="append", default=[], help="rows MODEL/METHOD/PRECISION/VARIANT, * allowed")
    parser.add_argument("--threads", default="1", help="numbers of threads, as 1,2")
    parser.add_argument("--repeats", type=int, default=1, help="timed processes of each side, in turn")
    parser.add_argument("--steps", type=int, default=4, help="timed steps of each process")
    parser.add_argument("--system-allocator", action="store_true", help="time with freed memory handed back, too")
    parser.add_argument("--quick", action="store_true", help="two rows of the small model, two steps")
    arguments = parser.parse_args()
    arguments.steps = 2 if arguments.quick else arguments.steps
    arguments.only = arguments.only or list(QUICK if arguments.quick else EVERYDAY)
    return arguments


def chosen_rows(arguments: argparse.Namespace) -> list[Row]:
    """The rows that were asked for, those of one group in succession."""
    patterns = [pattern.rstrip("/*") + "*" for pattern in arguments.only]
    rows = [row for threads in arguments.threads.split(",") for row in all_rows(int(threads))]
    kept = [row for row in rows if any(fnmatch(row.name, pattern) for pattern in patterns)]
    if not kept:
        raise SystemExit(f"no row is named {', '.join(arguments.only)}; rows are {', '.join(row.name for row in rows)}")
    return kept


def measure_all(bench: Bench, rows: Sequence[Row], repeats: int) -> None:
    """The two sides in turn, as often as asked; memory once, since it hardly varies."""
    for memory in [False] * repeats + [True]:
        for at, row in enumerate(rows):
            if not at or rows[at - 1].group != row.group:
                bench.measure(row, "ours", memory=memory)
            bench.measure(row, "trl", memory=memory)


def main() -> None:
    """Measure, print, and write the measurements where asked."""
    arguments = parse()
    rows = chosen_rows(arguments)
    version = peer_version(arguments.peer_python)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments)
        measure_all(bench, rows, arguments.repeats)
        found = [summary(bench, row) for row in rows]
    print(table(found))
    print(ABOUT.format(version=version, pairs=arguments.peer_micro_batch, gemm=gemm_rates(found)), end="")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
