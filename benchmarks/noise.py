"""What trainable noise on the reference costs beside plain DPO: tokens per second and memory, in the same run.

`python -m benchmarks.noise [--model 60m] [--repeats 3] [--steps 4]`: both train the same Llama on the same pairs, in
turn, each in a process of its own, on one thread. Not timed: the reference's log-probabilities and hidden states.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.training import MEMORY_STEPS, PRECISIONS, WARM_UP, Bench, Row, memory_mib, rate, seconds
from benchmarks.training_task import BATCH_SIZE, SHAPES, VOCABULARY

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


def states_cost(folder: Path, precision: str) -> tuple[float, float]:
    """Seconds to run the reference over a step's rejected answers, and to read the states kept of them."""
    import torch

    from selfboost.engines.checkpoint import load_causal_model
    from selfboost.train.devices.parallel import ALONE
    from selfboost.train.local import Local
    from selfboost.train.model.logprobs import language_model
    from selfboost.train.noise.kept_states import states_file
    from selfboost.train.packs.rows import Item, Row

    torch.set_num_threads(1)
    pairs = json.loads((folder / "pairs.json").read_text(encoding="utf-8"))["pairs"][:BATCH_SIZE]
    items = [
        Item(str(at), tuple(Row(tuple(pair["prompt"]), tuple(pair[side])) for side in ("chosen", "rejected")))
        for at, pair in enumerate(pairs)
    ]
    local = Local(dtype=precision, device="cpu")
    model = language_model(load_causal_model(str(folder), local.dtype, local.device), local)
    run = torch.no_grad()(model.states)
    rejected = [Item(item.id, item.rows[1:]) for item in items]
    kept = states_file(folder, items, precision).open(items, model.head.weight_VD, ALONE, run)
    return _seconds(lambda: run(rejected)), _seconds(lambda: kept.of(items, torch.device("cpu")))


def _seconds(work: Callable[[], object]) -> float:
    """Processor time, the median of five after a first."""
    times: list[float] = []
    for _ in range(6):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times[1:])


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
        for precision in arguments.precision:
            ran, read = states_cost(Path(folder) / arguments.model, PRECISIONS[precision])
            noisy = next(row for row in rows if row.method == "noise" and row.precision == precision)
            step = statistics.median(seconds(noisy, bench.runs(noisy, "ours", memory=False)[0]))
            print(
                f"{precision}: a step of {step:.2f} s has the reference's hidden states of its rejected answers in "
                f"{1000 * read:.1f} ms from the file; running the reference takes {ran:.2f} s"
            )
    print(f"MiB: peak resident memory less what was resident when the model was loaded, {MEMORY_STEPS} steps of AdamW.")
    print("less g: without the noise module's own weights, gradients and moments.")


if __name__ == "__main__":
    main()
