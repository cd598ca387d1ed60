"""The parts of the check list for a GPU: each compares with something else on the same inputs, and says by how much.

A part gets a case and returns its numbers; an `AssertionError` says what was outside its tolerance. Models are random,
made on the spot: nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.training_side import our_history, prepare, read_pairs, train_trl
from benchmarks.training_task import BATCH_SIZE, SIMPO_BETA, SIMPO_GAMMA, random_pairs

if TYPE_CHECKING:
    from benchmarks.generation_peers import Sampler

    from selfboost.train import Sequenced

EXACT = 2e-3
"""Largest difference of a token's log-probability between two ways to compute it in float32, in nats."""
ROUGH = 0.03
"""Largest mean difference between bfloat16 and float32, in nats per token; a recipe's `run.agreement` is 0.05."""
LOSS, NORM = 0.03, 0.1
"""Largest difference of a step's loss, and of its gradient's norm as a share, between bfloat16 and float32."""
SPREADS = 0.2
"""Largest difference of bfloat16 scores in two ways, in multiples of the scores' spread."""
MEBIBYTE = 2**20
Numbers = dict[str, float]


class Skipped(Exception):
    """A part cannot run here; the reason."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Where and how thoroughly a part is to run."""

    device: str
    quick: bool
    folder: Path
    """An empty folder."""

    @property
    def small(self) -> str:
        """The model on which results are compared."""
        return "15m" if self.quick else "60m"

    @property
    def large(self) -> str:
        """The model whose speed is measured."""
        return "15m" if self.quick else "400m" if self.device == "cuda" else "60m"

    def training(self, model: str, steps: int, **more: Any) -> argparse.Namespace:
        """A case of the training benchmark, its model and pairs written."""
        given: dict[str, Any] = {"method": "simpo", "precision": "bfloat16", "weights": "float32"}
        given |= {"reference": "stored", "micro_batch": BATCH_SIZE, "device": self.device, "threads": 1}
        folder = self.folder / model
        if not folder.exists():
            folder.mkdir()
            prepare(folder, model, [steps])
        return argparse.Namespace(**given | {"folder": folder, "model": model, "steps": [steps]} | more)


def packs(case: Case) -> Numbers:
    """Packed pairs with shared prompts against each row alone through transformers, in float32 on the device."""
    steps = case.training(case.small, 1, precision="float32")
    logged = our_history(steps, lambda: None)[0]["loss"]
    pairs, order = read_pairs(steps)
    rows = [(p.prompt, side) for p in (pairs[at] for at in order) for side in (p.chosen, p.rejected)]
    plain = plain_logps(steps.folder, case.device, rows)
    means = [sum(each) / len(each) for each in plain]
    loss = statistics.mean(
        softplus(SIMPO_GAMMA - SIMPO_BETA * (chosen - rejected))
        for chosen, rejected in zip(means[::2], means[1::2], strict=True)
    )
    packed = logps(steps.folder, rows, device=case.device, dtype="float32")
    apart = largest(packed, plain)
    assert apart <= EXACT, f"log-probabilities differ by {apart:.2g} nats, at most {EXACT} is allowed"
    assert abs(logged - loss) <= EXACT, f"the loss is {logged:.6f}, by rows alone {loss:.6f}"
    return {"largest_nats": apart, "loss_apart": abs(logged - loss)}


def flex(case: Case) -> Numbers:
    """FlexAttention against PyTorch's fused attention on padded rows, in float32 and bfloat16 on the device."""
    if case.device == "cpu":
        raise Skipped("FlexAttention is compiled for a GPU alone")
    steps = case.training(case.small, 1)
    pairs, order = read_pairs(steps)
    rows = [(pairs[at].prompt, pairs[at].chosen) for at in order[: 4 if case.quick else BATCH_SIZE]]
    found: Numbers = {}
    for dtype, bound, apart in (("float32", EXACT, largest), ("bfloat16", ROUGH, mean_apart)):
        one, other = (
            logps(steps.folder, rows, device=case.device, dtype=dtype, attention=way) for way in ("flex", "rows")
        )
        found[f"{dtype}_nats"] = apart(one, other)
        assert found[f"{dtype}_nats"] <= bound, f"{dtype}: {found[f'{dtype}_nats']:.2g} nats apart, {bound} is allowed"
    return found


def training_bf16(case: Case) -> Numbers:
    """Losses and gradient norms of a bfloat16 training on the device against float32 on the CPU."""
    count = 2 if case.quick else 4
    on_device = our_history(case.training(case.small, count), lambda: None)
    exact = our_history(case.training(case.small, count, precision="float32", device="cpu"), lambda: None)
    loss = max(abs(a["loss"] - b["loss"]) for a, b in zip(on_device, exact, strict=True))
    norm = max(abs(a["gradient_norm"] / b["gradient_norm"] - 1) for a, b in zip(on_device, exact, strict=True))
    assert loss <= LOSS, f"a step's loss differs by {loss:.3g}, at most {LOSS} is allowed"
    assert norm <= NORM, f"a gradient's norm differs by {norm:.1%}, at most {NORM:.0%} is allowed"
    return {"loss_apart": loss, "gradient_norm_apart": norm}


def sampling_bf16(case: Case) -> Numbers:
    """Log-probabilities that the sampler gives its samples in bfloat16 against the trainer in float32 on the CPU."""
    import torch
    from benchmarks.generation_side import random_llama

    from selfboost.engines import Request
    from selfboost.engines.decoding import Decoder
    from selfboost.records import Sampling

    model = random_llama(3.0)
    model.save_pretrained(str(case.folder / "model"))
    prompts, new = (8, 16) if case.quick else (32, 64)
    model = model.to(device=case.device, dtype=torch.bfloat16)
    decoder = Decoder(model=model, stop_ids=frozenset(), text=str, context_length=512, batch_size=prompts)
    sampling = Sampling(temperature=1.0, max_tokens=new)
    asked = [pair.prompt for pair in random_pairs(prompts)]
    requests = [Request(prompt_ids=tuple(ids), sampling=sampling, seed=at) for at, ids in enumerate(asked)]
    made = dict(decoder.decode(requests))
    rows = [(asked[at], made[at].token_ids) for at in range(prompts)]
    exact = logps(case.folder / "model", rows, device="cpu", dtype="float32")
    apart = mean_apart([made[at].logps for at in range(prompts)], exact)
    assert apart <= ROUGH, f"{apart:.3g} nats apart on average, {ROUGH} is allowed"
    return {"mean_nats": apart, "tokens": float(sum(map(len, exact)))}


def demo(case: Case) -> Numbers:
    """A recipe on the embedded model from end to end: `smoke`, or an iteration of `demo`."""
    from selfboost.demo import EMBEDDED_MODEL

    if not (EMBEDDED_MODEL / "model.safetensors").exists():
        raise Skipped("the embedded model is not built here")
    into, start = case.folder / "run", time.perf_counter()
    settings = ["run.iterations=1", f"engine.device={case.device}", f"trainer.device={case.device}"]
    command = [sys.executable, "-m", "selfboost", "run", "smoke" if case.quick else "demo", "--into", str(into)]
    done = subprocess.run(
        [*command, *(word for setting in settings for word in ("--set", setting))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr.strip()[-400:]
    held = json.loads((into / "run.json").read_text(encoding="utf-8"))
    return {"seconds": time.perf_counter() - start, "iterations": float(len(held["iterations"]) - 1)}


def generation(case: Case) -> Numbers:
    """New tokens per second of our sampler against transformers' `generate`, in bfloat16."""
    import torch
    from benchmarks.generation_peers import generate, ours
    from benchmarks.generation_side import random_llama
    from benchmarks.generation_task import NEW_TOKENS, PROMPTS

    model = random_llama(3.0).to(device=case.device, dtype=torch.bfloat16)
    prompts = [list(pair.prompt) for pair in random_pairs(8 if case.quick else PROMPTS)]

    def tokens(sample: Sampler) -> int:
        return sum(map(len, sample(prompts, NEW_TOKENS, False)))

    mine, theirs = (rate(case, partial(tokens, way(model))) for way in (ours, generate))
    return {"ours": mine, "transformers": theirs, "ratio": mine / theirs}


def scoring(case: Case) -> Numbers:
    """Scores per second of a reward model, ours in packs against transformers' padded batches, in bfloat16."""
    from benchmarks.scoring import ours, padded, save_model

    save_model(case.folder, case.small, "bfloat16")
    pairs = random_pairs(8 if case.quick else 256)
    rows = [(list(p.prompt), list(side)) for p in pairs for side in (p.chosen, p.rejected)]
    sides: dict[str, Callable[[], list[float]]] = {
        "ours": lambda: ours(case.folder, "bfloat16", rows, case.device),
        "transformers": lambda: padded(case.folder, "bfloat16", rows, 4 * BATCH_SIZE, case.device),
    }
    scores = {name: side() for name, side in sides.items()}  # this warms up, too
    seconds = {name: timed(case, side) for name, side in sides.items()}
    spread = statistics.stdev(scores["transformers"])
    apart = max(abs(a - b) for a, b in zip(scores["ours"], scores["transformers"], strict=True)) / spread
    assert apart <= SPREADS, f"scores differ by {apart:.2f} spreads, {SPREADS} is allowed"
    speeds = {name: len(rows) / each for name, each in seconds.items()}
    return speeds | {"ratio": speeds["ours"] / speeds["transformers"], "apart_spreads": apart}


def training_speed(case: Case, method: str) -> Numbers:
    """Tokens per second and peak memory of our training, against the fastest of TRL's ways where TRL is installed."""
    count = 3 if case.quick else 8
    mine = measured(case, "ours", case.training(case.large, count, method=method))
    if find_spec("trl") is None or find_spec("datasets") is None:
        return mine | {"without_trl": 1.0}
    ways = [
        measured(case, "trl", case.training(case.large, count, method=method, weights=weights))
        for weights in ("float32", "bfloat16")
    ]
    best = max(ways, key=lambda way: way["trl_tokens_per_s"])
    found = mine | best | {"ratio": mine["ours_tokens_per_s"] / best["trl_tokens_per_s"]}
    if case.device == "cuda":
        found["memory_ratio"] = best["trl_peak_mib"] / mine["ours_peak_mib"]
    return found


def measured(case: Case, side: str, training: argparse.Namespace) -> Numbers:
    """Median rate of a side's steps but the first, which warms up, and on a GPU the peak of its memory."""
    import torch

    ends: list[float] = []

    def step_done() -> None:
        synchronise(case)
        ends.append(time.perf_counter())

    if case.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if side == "ours":
        our_history(training, step_done)
    else:
        train_trl(training, argparse.Namespace(step_done=step_done))  # type: ignore[arg-type]
    pairs, order = read_pairs(training)
    batches = [order[at : at + BATCH_SIZE] for at in range(BATCH_SIZE, len(order), BATCH_SIZE)]
    tokens = [sum(pairs[at].tokens for at in batch) for batch in batches]
    seconds = [after - before for before, after in pairwise(ends)]
    found = {f"{side}_tokens_per_s": statistics.median(n / s for n, s in zip(tokens, seconds, strict=True))}
    if case.device == "cuda":
        found[f"{side}_peak_mib"] = torch.cuda.max_memory_allocated() / MEBIBYTE
    return found


def synchronise(case: Case) -> None:
    """Wait until the device has done what it was given."""
    if case.device == "cuda":
        import torch

        torch.cuda.synchronize()


def timed(case: Case, work: Callable[[], object]) -> float:
    """Median seconds of several tries."""
    found: list[float] = []
    for _ in range(1 if case.quick else 3):
        synchronise(case)
        start = time.perf_counter()
        work()
        synchronise(case)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def rate(case: Case, sample: Callable[[], int]) -> float:
    """New tokens per second; a first try warms up."""
    tokens = sample()
    return tokens / timed(case, sample)


def logps(folder: Path, rows: Sequence[Any], **settings: Any) -> list[tuple[float, ...]]:
    """Log-probabilities of completions by the trainer, in packs."""
    from selfboost.records import Model
    from selfboost.train import Sequenced
    from selfboost.train.local import Local

    model = Model(name="model", path=str(folder), fingerprint="")
    sequences: list[Sequenced] = [Sequenced(prompt_ids=tuple(a), token_ids=tuple(b)) for a, b in rows]
    return list(Local(**settings).logps(model, sequences))


def plain_logps(folder: Path, device: str, rows: Sequence[Any]) -> list[list[float]]:
    """Log-probabilities of completions from transformers' logits, one row at a time, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    found: list[list[float]] = []
    with torch.inference_mode():
        for prompt, answer in rows:
            ids = torch.tensor([[*prompt, *answer]], device=device)
            logps_LV = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            found.append(logps_LV.gather(-1, ids[0, len(prompt) :, None])[:, 0].tolist())
    return found


def largest(ones: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> float:
    """Largest difference of two lists of rows."""
    return max(abs(a - b) for one, other in zip(ones, others, strict=True) for a, b in zip(one, other, strict=True))


def mean_apart(ones: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> float:
    """Mean difference of two lists of rows."""
    return statistics.mean(
        abs(a - b) for one, other in zip(ones, others, strict=True) for a, b in zip(one, other, strict=True)
    )


def softplus(value: float) -> float:
    """ln(1 + e^x)."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


PARTS: Mapping[str, Callable[[Case], Numbers]] = {
    "packs": packs,
    "flex": flex,
    "training_bf16": training_bf16,
    "sampling_bf16": sampling_bf16,
    "demo": demo,
    "generation": generation,
    "scoring": scoring,
    "training_simpo": partial(training_speed, method="simpo"),
    "training_dpo": partial(training_speed, method="dpo"),
}
"""In the order in which they run: what is right first, then what is fast."""
os.environ.setdefault("HF_HUB_OFFLINE", "1")
