"""What trainable noise on the reference costs beside plain DPO: tokens per second and memory, in the same run.

`python -m benchmarks.noise [--model 60m] [--repeats 3] [--steps 4]`: both train the same Llama on the same pairs, in
turn, each in a process of its own, on one thread. Not timed: the reference's log-probabilities and hidden states.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.training import MEMORY_STEPS, PRECISIONS, WARM_UP, Bench, Row, memory_mib, rate
from benchmarks.training_task import SHAPES, VOCABULARY

MOMENTS = 8
"""Bytes of AdamW's moments of a weight."""
METHODS = {"dpo": "DPO", "noise": "with noise, LayerNorm and GELU", "affine-noise": "with noise, affine"}


def module_mib(model: str, precision: str) -> float:
    """The noise module itself: weights, gradients, what the optimiser keeps."""
    own = 4 + 4 if precision == "float32" else 2 + 4 + 4  # bfloat16 weights have masters and gradients in float32
    return VOCABULARY * SHAPES[model].hidden * (own + MOMENTS) / 2**20


def table(bench: Bench, rows: list[Row]) -> str:
    """A line for each way, its ratios to plain DPO of the same precision."""
    lines = [f"{'':42}{'tok/s':>8}{'of DPO':>8}{'MiB':>8}{'of DPO':>8}{'less g':>8}"]
    for row in rows:
        plain = next(r for r in rows if r.method == "dpo" and r.precision == row.precision)
        speed, base = (rate(r, bench.runs(r, "ours", memory=False)) for r in (row, plain))
        held, least = (memory_mib(bench.runs(r, "ours", memory=True)) for r in (row, plain))
        own = 0.0 if row is plain else module_mib(row.model, PRECISIONS[row.precision])
        lines.append(
            f"{row.model} {row.precision} {row.label:32}{speed:8.0f}{speed / base:7.2f}x{held:8.0f}"
            f"{held / least:7.2f}x{(held - own) / least:7.2f}x"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=tuple(SHAPES), default="60m")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--repeats", type=int, default=3, help="timed processes of each way, in turn")
    parser.add_argument("--steps", type=int, default=4, help=f"timed steps of each process, after {WARM_UP} of warm-up")
    arguments = parser.parse_args()
    arguments.peer_python, arguments.peer_micro_batch, arguments.system_allocator = "", 8, False
    rows = [
        Row(model=arguments.model, method=method, precision=precision, variant="", label=label, threads=1)
        for precision in arguments.precision
        for method, label in METHODS.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments)
        for memory in [False] * arguments.repeats + [True]:
            for row in rows:
                bench.measure(row, "ours", memory=memory)
        print(table(bench, rows))
    print(f"MiB: peak resident memory less what was resident when the model was loaded, {MEMORY_STEPS} steps of AdamW.")
    print("less g: without the noise module's own weights, gradients and moments.")


if __name__ == "__main__":
    main()
