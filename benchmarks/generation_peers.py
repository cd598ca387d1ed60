"""The ways to sample that the generation benchmark compares: our sampler, transformers', OpenVINO GenAI and llama.cpp.

Each opens a checkpoint and gives a `Sampler`. Every prompt gets all its new tokens: no token ends a text.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from benchmarks.generation_task import CONTEXT, NEW_TOKENS, PROMPTS, TEMPERATURE, TOP_P
from benchmarks.training_task import PROMPT_TOKENS

Sampler = Callable[[list[list[int]], int, bool], list[list[int]]]
"""Prompts, new tokens of each, and whether they are greedy → the new tokens."""


def load(folder: Path) -> Any:
    """The checkpoint in transformers, in the number type in which it is stored."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()


def ours(model: Any) -> Sampler:
    """The local engine's decoder; opening it compares its forward pass with transformers'."""
    from selfboost.engines import Request
    from selfboost.engines.decoding import Decoder
    from selfboost.records import Sampling

    decoder = Decoder(model=model, stop_ids=frozenset(), text=str, context_length=CONTEXT, batch_size=PROMPTS)
    assert model.device.type != "cpu" or not decoder.why_not_ours, decoder.why_not_ours

    def sample(prompts: list[list[int]], count: int, greedy: bool) -> list[list[int]]:
        sampling = Sampling(temperature=0.0 if greedy else TEMPERATURE, top_p=TOP_P, max_tokens=count)
        requests = [Request(prompt_ids=tuple(ids), sampling=sampling, seed=seed) for seed, ids in enumerate(prompts)]
        made = dict(decoder.decode(requests))
        return [list(made[at].token_ids) for at in range(len(prompts))]

    return sample


def settings(count: int, greedy: bool) -> dict[str, Any]:
    """What both of transformers' ways are given."""
    drawn = {} if greedy else {"temperature": TEMPERATURE, "top_p": TOP_P, "top_k": 0}
    return {"do_sample": not greedy, "max_new_tokens": count, "pad_token_id": 0} | drawn


def generate(model: Any) -> Sampler:
    """transformers' `generate`."""
    import torch

    def sample(prompts: list[list[int]], count: int, greedy: bool) -> list[list[int]]:
        ids_BL = torch.tensor(prompts, device=model.device)
        mask_BL = torch.ones_like(ids_BL)
        made_BL = model.generate(ids_BL, attention_mask=mask_BL, eos_token_id=None, **settings(count, greedy))
        return made_BL[:, ids_BL.shape[1] :].tolist()

    return sample


def generate_batch(model: Any) -> Sampler:
    """transformers' continuous batching, with room for all prompts; its own size is 90 % of the memory that is free."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    model.set_attn_implementation("sdpa")
    room = ContinuousBatchingConfig(num_blocks=PROMPTS + 1, max_batch_tokens=PROMPTS * PROMPT_TOKENS)

    def sample(prompts: list[list[int]], count: int, greedy: bool) -> list[list[int]]:
        config = GenerationConfig(eos_token_id=-1, **settings(count, greedy))
        made = model.generate_batch(prompts, generation_config=config, continuous_batching_config=room)
        return [list(one.generated_tokens) for one in made.values()]

    return sample


def openvino(folder: Path, threads: int, dtype: str) -> Sampler:
    """OpenVINO GenAI's continuous batching on a model that optimum-intel exports, once for each checkpoint."""
    import numpy as np

    genai: Any = import_module("openvino_genai")
    tensor: Any = import_module("openvino").Tensor
    exported = folder / "openvino"
    if not exported.exists():
        optimum: Any = import_module("optimum.intel")
        model = optimum.OVModelForCausalLM.from_pretrained(folder, export=True, compile=False, load_in_8bit=False)
        model.save_pretrained(exported)
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs, scheduler.max_num_batched_tokens = PROMPTS, PROMPTS * PROMPT_TOKENS
    scheduler.cache_size, scheduler.enable_prefix_caching = 1, False
    kind = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    properties = {
        "INFERENCE_PRECISION_HINT": kind,
        "KV_CACHE_PRECISION": kind,
        "INFERENCE_NUM_THREADS": threads,
        "sampler_num_threads": threads,
    }
    pipeline = genai.ContinuousBatchingPipeline(str(exported), scheduler, "CPU", properties)

    def sample(prompts: list[list[int]], count: int, greedy: bool) -> list[list[int]]:
        config = genai.GenerationConfig(max_new_tokens=count, ignore_eos=True, do_sample=not greedy)
        if not greedy:
            config.temperature, config.top_p, config.top_k = TEMPERATURE, TOP_P, 0
        ids = [tensor(np.array([prompt])) for prompt in prompts]
        return [list(one.m_generation_ids[0]) for one in pipeline.generate(ids, [config] * len(ids))]

    return sample


class LlamaCpp:
    """llama.cpp by its own functions: all rows in one batch, each with its own chain of llama.cpp's samplers."""

    def __init__(self, file: Path, threads: int) -> None:
        self._library = library = cast(Any, import_module("llama_cpp"))
        library.llama_backend_init()
        self._model = library.llama_model_load_from_file(os.fsencode(file), library.llama_model_default_params())
        room = library.llama_context_default_params()
        room.n_seq_max, room.n_ctx = PROMPTS, PROMPTS * (PROMPT_TOKENS + NEW_TOKENS)
        room.n_batch = room.n_ubatch = PROMPTS * PROMPT_TOKENS
        room.n_threads = room.n_threads_batch = threads
        self._context = library.llama_init_from_model(self._model, room)
        self._batch = library.llama_batch_init(PROMPTS * PROMPT_TOKENS, 0, 1)

    def sample(self, prompts: list[list[int]], count: int, greedy: bool) -> list[list[int]]:
        """Prompts are read together, then every row advances by a token a step."""
        chains = [self._chain(seed, greedy) for seed in range(len(prompts))]
        self._library.llama_memory_clear(self._library.llama_get_memory(self._context), True)
        made: list[list[int]] = [[] for _ in prompts]
        last = self._extend(prompts, 0)
        for step in range(count):
            for row, chain, place in zip(made, chains, last, strict=True):
                row.append(self._library.llama_sampler_sample(chain, self._context, place))
            if step + 1 < count:
                last = self._extend([row[-1:] for row in made], len(prompts[0]) + step)
        for chain in chains:
            self._library.llama_sampler_free(chain)
        return made

    def _chain(self, seed: int, greedy: bool) -> Any:
        library = self._library
        chain = library.llama_sampler_chain_init(library.llama_sampler_chain_default_params())
        parts = [library.llama_sampler_init_temp(TEMPERATURE), library.llama_sampler_init_top_p(TOP_P, 1)]
        parts.append(library.llama_sampler_init_dist(seed))
        for part in [library.llama_sampler_init_greedy()] if greedy else parts:
            library.llama_sampler_chain_add(chain, part)
        return chain

    def _extend(self, rows: Sequence[Sequence[int]], start: int) -> list[int]:
        """Append tokens to every row; the batch's places of the rows' last tokens."""
        batch, at, last = self._batch, 0, list[int]()
        for number, row in enumerate(rows):
            for place, token in enumerate(row):
                batch.token[at], batch.pos[at], batch.logits[at] = token, start + place, place + 1 == len(row)
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, number
                at += 1
            last.append(at - 1)
        batch.n_tokens = at
        failed = self._library.llama_decode(self._context, batch)
        assert not failed, f"llama_decode gave {failed}"
        return last


def llama_cpp(folder: Path, threads: int, dtype: str) -> Sampler:
    """llama.cpp on a GGUF file in the checkpoint's number type, written once for each checkpoint."""
    from benchmarks.generation_gguf import write

    file = folder / f"{dtype}.gguf"
    if not file.exists():
        write(folder, file)
    return LlamaCpp(file, threads).sample


def on_transformers(way: Callable[[Any], Sampler]) -> Callable[[Path, int, str], Sampler]:
    """A way to sample from a model of transformers, which reads the number type from the checkpoint."""

    def opened(folder: Path, threads: int, _dtype: str) -> Sampler:
        import torch

        torch.set_num_threads(threads)
        return way(load(folder))

    return opened


OPENERS: dict[str, Callable[[Path, int, str], Sampler]] = {
    "ours": on_transformers(ours),
    "generate": on_transformers(generate),
    "generate_batch": on_transformers(generate_batch),
    "openvino": openvino,
    "llama.cpp": llama_cpp,
}
