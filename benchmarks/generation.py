"""New tokens per second of the local engine beside transformers' own `generate`, on one thread or several.

Random Llamas of 15 million weights (288 hidden, 6 layers) and 60 million (512, 8) with 32,000 words, embeddings not
counted; 64 prompts of 64 tokens, 64 new tokens each, temperature 0.7 and top-p 0.9, no end of sequence. Medians over
repeats taken in turn. One thread: per second of processor time, which a busy machine disturbs least; several: per
second on the wall. Models are opened before, ours with the comparison of the two forward passes.
Run as `python -m benchmarks.generation [--only 15M] [--threads 2] [--json FILE]`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from selfboost.engines import Request
from selfboost.engines.decoding import Decoder
from selfboost.records import Sampling

PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 64, 64, 64
TEMPERATURE, TOP_P = 0.7, 0.9
SIZES = {"15M": (288, 6, 6, 768), "60M": (512, 8, 8, 1408)}
"""Hidden size, layers, heads and size of the feed-forward layers."""
CASES = (
    ("15M, nucleus of about 120 tokens, float32", "15M", 3.0, torch.float32),
    ("15M, nucleus of about 14,000 tokens, float32", "15M", 1.0, torch.float32),
    ("15M, nucleus of about 120 tokens, bfloat16", "15M", 3.0, torch.bfloat16),
    ("60M, nucleus of about 120 tokens, float32", "60M", 3.0, torch.float32),
    ("60M, nucleus of about 120 tokens, bfloat16", "60M", 3.0, torch.bfloat16),
)


def random_llama(flatness: float, size: str = "15M") -> LlamaForCausalLM:
    """Random weights; `flatness` scales the head: the smaller, the more words a nucleus holds."""
    torch.manual_seed(0)
    hidden, layers, heads, inside = SIZES[size]
    config = LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inside,
        vocab_size=32000,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(flatness / 0.02 / config.hidden_size**0.5)
    return model


@lru_cache(maxsize=1)
def opened(model: LlamaForCausalLM) -> Decoder:
    """The local engine's decoder for a model, which is compared with transformers once."""
    decoder = Decoder(model=model, stop_ids=frozenset(), text=str, context_length=512, batch_size=PROMPTS)
    print(decoder.why_not_ours or "our own forward pass", flush=True)
    return decoder


def ours(model: LlamaForCausalLM, prompts: list[list[int]]) -> int:
    """Sample with the local engine's decoder; tokens made."""
    sampling = Sampling(temperature=TEMPERATURE, top_p=TOP_P, max_tokens=NEW_TOKENS)
    requests = [Request(prompt_ids=tuple(ids), sampling=sampling, seed=seed) for seed, ids in enumerate(prompts)]
    return sum(len(generation.token_ids) for _, generation in opened(model).decode(requests))


def peer(model: LlamaForCausalLM, prompts: list[list[int]]) -> int:
    """Sample with transformers' `generate`; tokens made."""
    ids_BL = torch.tensor(prompts, device=model.device)
    settings: dict[str, Any] = {"do_sample": True, "temperature": TEMPERATURE, "top_p": TOP_P, "top_k": 0}
    made_BL = cast(Any, model).generate(
        ids_BL,
        attention_mask=torch.ones_like(ids_BL),
        min_new_tokens=NEW_TOKENS,
        max_new_tokens=NEW_TOKENS,
        pad_token_id=0,
        eos_token_id=None,
        **settings,
    )
    return int(made_BL.numel() - ids_BL.numel())


def rate(sample: Callable[[LlamaForCausalLM, list[list[int]]], int], model: LlamaForCausalLM, prompts: Any) -> float:
    """New tokens per second: of processor time on one thread, else on the wall."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    tokens = sample(model, prompts)
    return tokens / (clock() - start)


def rows(repeats: int, only: str) -> list[dict[str, Any]]:
    """One row per model, shape of the distribution and number type."""
    found: list[dict[str, Any]] = []
    generator = torch.Generator().manual_seed(1)
    prompts = torch.randint(3, 32000, (PROMPTS, PROMPT_TOKENS), generator=generator).tolist()
    unit = "new tokens/CPU-s" if torch.get_num_threads() == 1 else "new tokens/s"
    for name, size, flatness, dtype in CASES:
        if only not in name:
            continue
        model = random_llama(flatness, size).to(dtype)
        ours(model, prompts[:2]), peer(model, prompts[:2])  # warms both up
        pairs = [(rate(ours, model, prompts), rate(peer, model, prompts)) for _ in range(repeats)]
        mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = sorted(one / other for one, other in pairs)
        row = {"name": name, "ours": mine, "peer": theirs, "ratio": statistics.median(ratios), "unit": unit}
        between = f"{row['ratio']:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"{name}: ours {mine:.0f}, generate {theirs:.0f} {unit}, ratio {between}", flush=True)
        found.append(row)
    return found


def main() -> None:
    """Measure, print, and write the rows where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    parser.add_argument("--repeats", type=int, default=3, help="measured repeats")
    parser.add_argument("--threads", type=int, default=1, help="threads of both sides")
    parser.add_argument("--only", default="", help="part of the names of the rows to measure")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = rows(arguments.repeats, arguments.only)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
