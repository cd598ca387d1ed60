"""New tokens per second of the local engine beside transformers' own `generate`, on one thread.

A random Llama (288 hidden, 6 layers, 32,000 words), 64 prompts of 64 tokens, 64 new tokens each, temperature 0.7 and
top-p 0.9, no end of sequence. Medians over repeats taken in turn.
Run as `python -m benchmarks.generation [--json FILE]`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from selfboost.engines import Request
from selfboost.engines.decoding import Decoder
from selfboost.records import Sampling

PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 64, 64, 64
TEMPERATURE, TOP_P = 0.7, 0.9


def random_llama(flatness: float) -> LlamaForCausalLM:
    """Random weights; `flatness` scales the head: the smaller, the more words a nucleus holds."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=288,
        num_hidden_layers=6,
        num_attention_heads=6,
        intermediate_size=768,
        vocab_size=32000,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(flatness / 0.02 / config.hidden_size**0.5)
    return model


def ours(model: LlamaForCausalLM, prompts: list[list[int]]) -> int:
    """Sample with the local engine's decoder; tokens made."""
    decoder = Decoder(model=model, stop_ids=frozenset(), text=str, context_length=512, batch_size=len(prompts))
    sampling = Sampling(temperature=TEMPERATURE, top_p=TOP_P, max_tokens=NEW_TOKENS)
    requests = [Request(prompt_ids=tuple(ids), sampling=sampling, seed=seed) for seed, ids in enumerate(prompts)]
    return sum(len(generation.token_ids) for _, generation in decoder.decode(requests))


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
    """New tokens per second of processor time, which a busy machine disturbs least."""
    start = time.process_time()
    tokens = sample(model, prompts)
    return tokens / (time.process_time() - start)


def rows(repeats: int) -> list[dict[str, Any]]:
    """One row per shape of the distribution and number type."""
    found: list[dict[str, Any]] = []
    generator = torch.Generator().manual_seed(1)
    prompts = torch.randint(3, 32000, (PROMPTS, PROMPT_TOKENS), generator=generator).tolist()
    for name, flatness, dtype in (
        ("nucleus of about 120 tokens, float32", 3.0, torch.float32),
        ("nucleus of about 14,000 tokens, float32", 1.0, torch.float32),
        ("nucleus of about 120 tokens, bfloat16", 3.0, torch.bfloat16),
    ):
        model = random_llama(flatness).to(dtype)
        pairs = [(rate(ours, model, prompts), rate(peer, model, prompts)) for _ in range(repeats + 1)][1:]
        mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        row = {"name": name, "ours": mine, "peer": theirs, "ratio": mine / theirs, "unit": "new tokens/CPU-s"}
        print(f"{name}: ours {mine:.0f}, generate {theirs:.0f} {row['unit']}, ratio {mine / theirs:.2f}", flush=True)
        found.append(row)
    return found


def main() -> None:
    """Measure, print, and write the rows where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    parser.add_argument("--repeats", type=int, default=3, help="measured repeats, after one that warms up")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = rows(arguments.repeats)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
