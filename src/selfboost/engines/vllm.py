"""The engine vLLM, in processes of its own beside this one: `pip install 'selfboost[vllm]'`. Not run on a GPU yet.

Between two models the engine sleeps: weights and cache are dropped, its processes and compiled kernels stay, and a
model of the same architecture is loaded in place. With `max_lora_rank`, a trained model is its adapter on the model
that it was trained from, whose weights stay. A sample depends on prompt, settings, seed and model; its neighbours
change its logits by rounding unless `batch_invariant`. One engine per process, on one GPU or, with tensor parallelism,
on several of one machine; to use more GPUs, run more workers. Leaves out data and pipeline parallelism.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from selfboost.engines import Footprint, Generation, Request
from selfboost.engines.checkpoint import ADAPTER, ADAPTER_SETTINGS, DTypeName, bytes_of, resolve
from selfboost.engines.context import room_for, why_no_room
from selfboost.engines.outside import EndingTokenizer, OutsideEngine, failed, generation_of, require_sampling
from selfboost.engines.running_vllm import HOLDER, EngineSettings, RunningEngine, free_bytes
from selfboost.engines.weights import read_object
from selfboost.records import Model
from selfboost.setting_types import MOST_TOKENS, NEW, SPEED_ONLY, allowed

ROWS = 256
"""Rows that vLLM decodes at a time by default, for estimates."""
LoraRank = Literal[0, 1, 8, 16, 32, 64, 128, 256, 320, 512]
"""The largest ranks that vLLM can be started for; 0: none."""


@dataclass(frozen=True, kw_only=True)
class VLLM(OutsideEngine):
    """vLLM beside this process: fast sampling on GPUs."""

    dtype: DTypeName = "auto"
    """Number type of the weights; `auto`: bfloat16."""
    tensor_parallel: Annotated[int, Field(ge=1, le=64)] = field(default=1, metadata=SPEED_ONLY)
    """GPUs of this machine that share each model's weights."""
    gpu_memory_utilization: Annotated[float, Field(ge=0.05, le=0.99)] = field(default=0.9, metadata=SPEED_ONLY)
    """Share of a GPU's memory for weights and cache."""
    max_model_len: Annotated[int, Field(ge=0, le=MOST_TOKENS)] = 0
    """Most tokens of prompt and answer (0 = what the model reads); less leaves room for more rows."""
    enforce_eager: bool = field(default=False, metadata=SPEED_ONLY)
    """Run without CUDA graphs: starts faster, samples slower."""
    batch_invariant: bool = field(default=False, metadata=NEW)
    """Use vLLM's batch-invariant kernels (beta): slower, and a sample's bits do not depend on its neighbours."""
    keep: bool = field(default=True, metadata=SPEED_ONLY)
    """Let the engine sleep between two models instead of ending it."""
    max_lora_rank: LoraRank = field(default=0, metadata=SPEED_ONLY)
    """Put trained adapters of up to this rank on their base, which stays loaded (0 = load merged weights)."""

    def footprint(self) -> Footprint:
        """Weights in `dtype`, and as many rows as vLLM decodes."""
        kept = self.keep and self.max_lora_rank > 0
        return Footprint(
            weight_bytes=bytes_of(self.dtype), rows=ROWS, batching="continuous", gpus=self.tensor_parallel, kept=kept
        )

    @contextmanager
    def open(self, model: Model) -> Generator[VLLMSampler]:
        """Load the model for sampling, in place of another of its architecture; asleep or ended at the end.

        Raises:
            ValueError: vLLM or GPUs are missing, or the model cannot be opened.
        """
        looked, base = self.look(model), self._base(model)
        folder = str(resolve(base.path if base else model.path))
        length = self.max_model_len or looked.context_length
        if length is None:
            raise ValueError(f"the configuration of {model.path!r} does not say its context: set engine.max_model_len")
        engine = HOLDER.take(self.settings, folder)
        done = False
        try:
            if base is not None:
                engine.put_on(model.fingerprint, str(Path(model.path) / ADAPTER))
            yield VLLMSampler(engine, cast(EndingTokenizer, looked.tokenizer), length)
            engine.take_off()
            done = True
        finally:
            if done and self.keep:
                HOLDER.keep(engine)
            else:
                engine.end()

    def release(self) -> Mapping[str, Any]:
        """End the engine that sleeps between two models, if there is one; GPU → bytes free before and after."""
        before = free_bytes()
        if not HOLDER.end():
            return {}
        after = free_bytes()
        return {"free_bytes_before": before, "free_bytes_after": after}

    def _base(self, model: Model) -> Model | None:
        """The model that a trained model's adapter is put on; None where its merged weights are loaded.

        Raises:
            ValueError: the adapter's rank is too large.
        """
        file = Path(model.path) / ADAPTER / ADAPTER_SETTINGS
        if not self.max_lora_rank or model.start is None or not file.is_file():
            return None
        rank = read_object(file).get("r")
        if not isinstance(rank, int) or rank > self.max_lora_rank:
            raise ValueError(
                f"engine.max_lora_rank = {self.max_lora_rank}: the adapter of {model.name!r} has rank {rank}; raise it "
                f"(allowed: {allowed(LoraRank)}; 0 loads merged weights)"
            )
        return model.start

    @property
    def settings(self) -> EngineSettings:
        """What the engine is started with."""
        batch_invariant = {"VLLM_BATCH_INVARIANT": "1"} if self.batch_invariant else {}
        return EngineSettings(self.arguments(), batch_invariant)

    def arguments(self) -> dict[str, Any]:
        """vLLM's arguments beside `model`, by its own names; nothing comes from the model's generation settings."""
        adapters = {"enable_lora": True, "max_lora_rank": self.max_lora_rank, "max_loras": 1}
        return {
            "dtype": "bfloat16" if self.dtype == "auto" else self.dtype,
            "load_format": "safetensors",
            "trust_remote_code": self.trust_remote_code,
            "tensor_parallel_size": self.tensor_parallel,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "max_model_len": self.max_model_len or None,
            "enforce_eager": self.enforce_eager,
            "enable_prefix_caching": True,
            "enable_sleep_mode": self.keep,
            "generation_config": "vllm",
            "logprobs_mode": "raw_logprobs",
            "seed": 0,
            "disable_log_stats": True,
            **(adapters if self.max_lora_rank else {}),
        }


def drawing(request: Request, limit: int, stop_ids: Sequence[int]) -> dict[str, Any]:
    """vLLM's sampling parameters, by its own names, but for the kind of its output."""
    wanted = request.sampling
    return {
        "n": 1,
        "seed": request.seed,
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "top_k": wanted.top_k,
        "min_p": wanted.min_p,
        "max_tokens": limit,
        "ignore_eos": True,  # the ids below are those that end an answer
        "stop_token_ids": list(stop_ids),
        "stop": list(wanted.stop),
        "detokenize": bool(wanted.stop),
        "skip_special_tokens": False,
        "logprobs": 0,
        "flat_logprobs": True,
    }


def logps_of(token_ids: Sequence[int], flat: Any) -> list[float]:
    """The log-probability of each sampled token in vLLM's flat form, where a position may list other tokens too."""
    found: list[float] = []
    for place, identity in enumerate(token_ids):
        start, end = flat.start_indices[place], flat.end_indices[place]
        found.append(flat.logprobs[start + list(flat.token_ids[start:end]).index(identity)])
    return found


class VLLMSampler:
    """A model in an engine."""

    def __init__(self, engine: RunningEngine, tokenizer: EndingTokenizer, context_length: int) -> None:
        self.tokenizer, self.context_length = tokenizer, context_length
        self._engine = engine

    def sample(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yield (index of the request, its sample) as the answers end. May be called from several threads.

        Raises:
            ValueError: the engine has ended, or settings are out of its range.
        """
        limits = [room_for(request, self.context_length) for request in requests]
        asked = [i for i, limit in enumerate(limits) if limit > 0]
        for i, request in enumerate(requests):
            if limits[i] < 1:
                yield i, failed(why_no_room(request, self.context_length))
        stop_ids = sorted(self.tokenizer.stop_ids)
        for i in asked:
            require_sampling(requests[i].sampling)
        wanted = [(requests[i].prompt_ids, drawing(requests[i], limits[i], stop_ids)) for i in asked]
        for place, found in self._engine.complete(wanted):
            i = asked[place]
            if isinstance(found, str):
                yield i, failed(found)
                continue
            ids = list(found.token_ids)
            yield i, generation_of(self.tokenizer, requests[i], limits[i], ids, logps_of(ids, found.logprobs))
