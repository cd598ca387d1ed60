"""One measurement of the generation benchmark in a process of its own: one side, model and number of threads.

Prints one line of JSON. `prepare` writes a model, `nats` says how likely sampled tokens are under it, and every other
side samples from it. Started by `python -m benchmarks.generation`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.generation_peers import OPENERS, load
from benchmarks.generation_task import CONTEXT, GREEDY_TOKENS, MODELS, NEW_TOKENS, prompts
from benchmarks.training_side import llama_config


def random_llama(flatness: float, size: str = "15M") -> Any:
    """Random weights; `flatness` scales the head: the smaller, the more words a nucleus holds."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    config = llama_config(MODELS[size], max_position_embeddings=CONTEXT, tie_word_embeddings=False)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(flatness / 0.02 / config.hidden_size**0.5)
    return model


def prepare(case: argparse.Namespace) -> dict[str, Any]:
    """Write a model."""
    import torch

    random_llama(case.flatness, case.model).to(getattr(torch, case.dtype)).save_pretrained(str(case.folder))
    return {}


def nats(case: argparse.Namespace) -> dict[str, Any]:
    """Mean negative log-probability, at temperature 1 and in float32, of the tokens that each side has sampled."""
    import torch

    model = load(case.folder).float()
    found: dict[str, float] = {}
    for side, rows in json.loads((case.folder / "samples.json").read_text(encoding="utf-8")).items():
        total = 0.0
        for prompt, row in zip(prompts(), rows, strict=True):
            with torch.inference_mode():
                logits_LV = model(torch.tensor([prompt + row[:-1]]), logits_to_keep=len(row)).logits[0]
            total += float(torch.nn.functional.cross_entropy(logits_LV, torch.tensor(row)))
        found[side] = total / len(rows)
    return found


def thread_seconds() -> dict[str, float]:
    """Processor time of each of this process's threads."""
    found: dict[str, float] = {}
    for folder in Path("/proc/self/task").iterdir():
        words = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        found[folder.name] = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return found


def measure(case: argparse.Namespace) -> dict[str, Any]:
    """Greedy tokens, which warm up, then sampled ones by the clock, with the processor time of the busiest threads."""
    sample = OPENERS[case.side](case.folder, case.threads, case.dtype)
    asked = prompts()
    greedy = sample(asked, GREEDY_TOKENS, True)
    before, processor, wall = thread_seconds(), time.process_time(), time.perf_counter()
    made = sample(asked, NEW_TOKENS, False)
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    after = thread_seconds()
    assert {len(row) for row in made} == {NEW_TOKENS}, f"rows of {sorted({len(row) for row in made})} tokens"
    return {
        "tokens": sum(map(len, made)),
        "processor_s": processor,
        "wall_s": wall,
        "threads_s": sorted((after[name] - before.get(name, 0.0) for name in after), reverse=True)[:4],
        "greedy": greedy,
        "samples": made,
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=("prepare", "nats", *OPENERS))
    parser.add_argument("--folder", type=Path, required=True, help="the model's folder")
    parser.add_argument("--model", choices=tuple(MODELS), default="15M")
    parser.add_argument("--flatness", type=float, default=3.0)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Measure and print; what libraries print goes to the error stream, so that the result stands alone."""
    case = parse()
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    ways = {"prepare": prepare, "nats": nats}
    print(json.dumps(ways.get(case.side, measure)(case)), file=output, flush=True)


if __name__ == "__main__":
    main()
