"""Memory of each of two processes that shard a training: opening, saving, resuming, exporting, beside doing it whole.

`python -m benchmarks.sharding [--hidden 512] [--layers 6]`: gloo on the CPU, a random Llama stored in bfloat16. Whole:
each process reads the model in float32 and gathers masters and moments to save them. Counted is anonymous memory,
without mapped files: the most above what the process held before, in multiples of the float32 weights.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.sharding_side import PHASES, Peaks, measure

VOCABULARY = 8192


def save_start(folder: Path, hidden: int, layers: int) -> int:
    """A random model in bfloat16; returns its number of weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def peaks(folder: Path, *, whole: bool) -> list[Peaks]:
    """What each of two processes needed."""
    from selfboost.train.devices.parallel import conduct

    work = partial(measure, folder=folder, whole=whole)
    return conduct(2, work, work)


def main() -> None:
    """Print a line for each phase and process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        weights = save_start(folder, chosen.hidden, chosen.layers) * 4 / 2**20
        ours, theirs = (peaks(folder, whole=whole) for whole in (False, True))
    print(f"float32 weights: {weights:.0f} MiB; peak above the start of each phase, MiB (multiple of the weights)")
    print(f"{'':22}{'parts':>16}{'whole':>16}{'ratio':>8}")
    for phase in PHASES:
        for rank, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            a, b = mine[phase], other[phase]
            columns = "".join(f"{x:9.0f} ({x / weights:.2f})" for x in (a, b))
            print(f"{phase:10} process {rank}   {columns}{a / max(b, 1):7.2f}x")


if __name__ == "__main__":
    main()
