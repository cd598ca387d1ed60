"""Throughput of a reward model's scores: ours beside transformers in padded batches, on the same rows.

`python -m benchmarks.scoring [--shape 15m] [--dtype bfloat16] [--repeats 3]`: a random Llama with a head of one output,
prompts of 64 tokens, answers of lognormal lengths. Printed are answers a second, medians over repeats, their ratio, and
the largest difference of the scores in multiples of their spread. Both sides load the model anew for each repeat.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.training_side import llama_config
from benchmarks.training_task import BATCH_SIZE, PAD, SHAPES, random_pairs

Row = tuple[list[int], list[int]]
"""Ids of a prompt and of an answer."""


def save_model(folder: Path, shape: str, dtype: str) -> None:
    """A random reward model."""
    import torch
    from transformers import LlamaForSequenceClassification

    torch.manual_seed(0)
    config = llama_config(SHAPES[shape], pad_token_id=PAD, num_labels=1)
    LlamaForSequenceClassification(config).to(getattr(torch, dtype)).save_pretrained(folder)


def ours(folder: Path, dtype: str, rows: Sequence[Row], device: str = "cpu") -> list[float]:
    """Scores by the trainer, in packs without padding."""
    from selfboost.records import Model
    from selfboost.train import Sequenced
    from selfboost.train.local import Local

    model = Model(name="reward", path=str(folder), fingerprint="")
    sequences = [Sequenced(prompt_ids=tuple(prompt), token_ids=tuple(answer)) for prompt, answer in rows]
    trainer = Local(device=device, dtype="bfloat16" if dtype == "bfloat16" else "float32")
    return list(trainer.rewards(model, sequences))


def padded(folder: Path, dtype: str, rows: Sequence[Row], batch_size: int, device: str = "cpu") -> list[float]:
    """Scores by transformers, longest rows first, each batch padded to its longest."""
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    model.to(device)
    order = sorted(range(len(rows)), key=lambda i: -sum(map(len, rows[i])))
    found = [0.0] * len(rows)
    for at in range(0, len(order), batch_size):
        some = order[at : at + batch_size]
        each = [rows[i][0] + rows[i][1] for i in some]
        width = max(map(len, each))
        ids = torch.tensor([row + [PAD] * (width - len(row)) for row in each], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in each], device=device)
        with torch.inference_mode():
            scores = model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
        for i, score in zip(some, scores, strict=True):
            found[i] = score
    return found


def timed(side: Callable[[], list[float]], repeats: int) -> tuple[float, list[float]]:
    """Median seconds and the scores."""
    seconds, scores = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        scores = side()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), scores


def main() -> None:
    """Print one line for each batch size of the peer."""
    parsing = argparse.ArgumentParser(description=__doc__)
    parsing.add_argument("--shape", choices=SHAPES, default="15m")
    parsing.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parsing.add_argument("--answers", type=int, default=256)
    parsing.add_argument("--repeats", type=int, default=3)
    chosen = parsing.parse_args()
    rows = [(list(p.prompt), list(s)) for p in random_pairs(chosen.answers // 2) for s in (p.chosen, p.rejected)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_model(folder, chosen.shape, chosen.dtype)
        mine, scores = timed(lambda: ours(folder, chosen.dtype, rows), chosen.repeats)
        print(f"{len(rows)} answers, {chosen.shape}, {chosen.dtype}: ours {len(rows) / mine:.1f} answers/s")
        for batch_size in (BATCH_SIZE, 4 * BATCH_SIZE):
            theirs, others = timed(lambda size=batch_size: padded(folder, chosen.dtype, rows, size), chosen.repeats)
            apart = max(abs(a - b) for a, b in zip(scores, others, strict=True)) / statistics.stdev(others)
            rate = f"{len(rows) / theirs:.1f} answers/s"
            print(
                f"transformers, {batch_size} a batch: {rate}, ours {theirs / mine:.2f} times; apart {apart:.3f} spreads"
            )


if __name__ == "__main__":
    main()
