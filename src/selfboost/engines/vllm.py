"""The engine vLLM, in processes of its own beside this one: `pip install 'selfboost[vllm]'`. Not run on a GPU yet.

Between two models the engine sleeps: weights and cache are dropped, its processes and compiled kernels stay, and a
model of the same architecture is loaded in place. A sample depends on prompt, settings, seed and model; its neighbours
change its logits by rounding unless `batch_invariant`. One engine per process, on one GPU or, with tensor parallelism,
on several of one machine; to use more GPUs, run more workers. Leaves out data and pipeline parallelism and LoRA
requests: the adapters that a run trains are merged into its models. The only module that imports vllm.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import queue
import threading
from collections.abc import Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from pydantic import Field

from selfboost.engines import Footprint, Generation, Request
from selfboost.engines.checkpoint import DTypeName, bytes_of, resolve
from selfboost.engines.context import room_for, why_no_room
from selfboost.engines.outside import EndingTokenizer, OutsideEngine, failed, generation_of, require_sampling
from selfboost.engines.weights import read_object
from selfboost.extras import require
from selfboost.records import Model
from selfboost.setting_types import MOST_TOKENS, NEW, SPEED_ONLY

ROWS = 256
"""Rows that vLLM decodes at a time by default, for estimates."""
UNLIKE = (
    "_name_or_path",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "eos_token_id",
    "bos_token_id",
    "pad_token_id",
)
"""Settings of a configuration in which models of one architecture may differ."""
Wanted = tuple[Sequence[int], Mapping[str, Any]]
"""A prompt's token ids, and vLLM's sampling parameters by name."""
SETTING = "engine.kind = 'vllm'"


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

    def footprint(self) -> Footprint:
        """Weights in `dtype`, and as many rows as vLLM decodes."""
        weights = bytes_of(self.dtype)
        return Footprint(weight_bytes=weights, rows=ROWS, batching="continuous", gpus=self.tensor_parallel)

    @contextmanager
    def open(self, model: Model) -> Generator[VLLMSampler]:
        """Load the model for sampling, in place of another of its architecture; asleep or ended at the end.

        Raises:
            ValueError: vLLM or GPUs are missing, or the model cannot be opened.
        """
        looked, folder = self.look(model), str(resolve(model.path))
        length = self.max_model_len or looked.context_length
        if length is None:
            raise ValueError(f"the configuration of {model.path!r} does not say its context: set engine.max_model_len")
        engine = _HOLDER.take(self, folder)
        done = False
        try:
            yield VLLMSampler(engine, cast(EndingTokenizer, looked.tokenizer), length)
            done = True
        finally:
            if done and self.keep:
                _HOLDER.keep(engine)
            else:
                engine.end()

    def release(self) -> Mapping[str, Any]:
        """End the engine that sleeps between two models, if there is one; GPU → bytes free before and after."""
        before = free_bytes()
        if not _HOLDER.end():
            return {}
        after = free_bytes()
        return {"free_bytes_before": before, "free_bytes_after": after}

    def arguments(self, folder: str) -> dict[str, Any]:
        """What vLLM's engine is made of, by its own names; nothing comes from the model's generation settings."""
        return {
            "model": folder,
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


def free_bytes() -> dict[str, int]:
    """GPU → bytes that are free on it; empty without GPUs."""
    import torch

    if not torch.cuda.is_available():
        return {}
    torch.cuda.empty_cache()
    return {str(place): torch.cuda.mem_get_info(place)[0] for place in range(torch.cuda.device_count())}


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


class RunningEngine:
    """vLLM's asynchronous engine on an event loop in a thread of its own."""

    def __init__(self, settings: VLLM, folder: str) -> None:
        self.settings, self.folder = settings, folder
        _prepare(settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        self._count = 0
        self._llm: Any = None
        try:
            self._llm = self._run(_started(settings.arguments(folder)))
        except Exception as error:
            self.end()
            raise ValueError(
                f"{SETTING}: the engine did not start ({_first_line(error)}); see its log above"
            ) from error

    def complete(self, wanted: Sequence[Wanted]) -> Generator[tuple[int, Any], None, None]:
        """Yield (index, vLLM's completion, or why there is none) as they end; closing the generator stops the rest.

        Raises:
            ValueError: the engine has ended.
        """
        arrived: queue.SimpleQueue[tuple[int, Any] | BaseException | None] = queue.SimpleQueue()
        asked = asyncio.run_coroutine_threadsafe(self._complete_all(wanted, arrived), self._loop)
        try:
            while (found := arrived.get()) is not None:
                if isinstance(found, BaseException):
                    raise ValueError(
                        f"{SETTING}: the engine ended ({_first_line(found)}); see its log above"
                    ) from found
                yield found
        finally:
            asked.cancel()

    def load(self, folder: str) -> None:
        """Wake up with the weights of a model of the same architecture.

        Raises:
            ValueError: the engine cannot.
        """
        try:
            self._run(self._llm.wake_up(["weights"]))
            self._run(self._llm.collective_rpc("reload_weights", kwargs={"weights_path": folder}))
            self._run(self._llm.wake_up(["kv_cache"]))
            self._run(self._llm.reset_prefix_cache())
        except Exception as error:
            self.end()
            raise ValueError(
                f"{SETTING}: the weights of {folder!r} cannot be loaded in place ({_first_line(error)}); set "
                "engine.keep = false"
            ) from error
        self.folder = folder

    def sleep(self) -> None:
        """Drop weights and cache, and keep the rest."""
        self._run(self._llm.sleep(2))

    def end(self) -> None:
        """End the engine and its processes."""
        if self._llm is not None:
            self._llm.shutdown()
            self._llm = None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _complete_all(self, wanted: Sequence[Wanted], arrived: queue.SimpleQueue[Any]) -> None:
        try:
            await asyncio.gather(*(self._complete(i, ids, more, arrived) for i, (ids, more) in enumerate(wanted)))
        except Exception as error:
            arrived.put(error)
        finally:
            arrived.put(None)

    async def _complete(
        self, index: int, ids: Sequence[int], settings: Mapping[str, Any], arrived: queue.SimpleQueue[Any]
    ) -> None:
        sampling = _part("vllm.sampling_params")
        parameters = sampling.SamplingParams(**settings, output_kind=sampling.RequestOutputKind.FINAL_ONLY)
        prompt = _part("vllm.inputs").TokensPrompt(prompt_token_ids=list(ids))
        self._count += 1
        last: Any = None
        try:
            async for output in self._llm.generate(prompt, parameters, request_id=str(self._count)):
                last = output
        except Exception as error:
            if self._llm.errored:
                raise
            arrived.put((index, _first_line(error)))
            return
        arrived.put((index, last.outputs[0]))


class _Holder:
    """The engine that sleeps between two models: at most one in this process."""

    def __init__(self) -> None:
        self._asleep: RunningEngine | None = None
        self._lock = threading.Lock()

    def take(self, settings: VLLM, folder: str) -> RunningEngine:
        """An engine with a model: the sleeping one where settings and architecture are the same, else a new one."""
        with self._lock:
            asleep, self._asleep = self._asleep, None
        if asleep is not None:
            if asleep.settings == settings and same_architecture(asleep.folder, folder):
                asleep.load(folder)
                return asleep
            asleep.end()
        return RunningEngine(settings, folder)

    def keep(self, engine: RunningEngine) -> None:
        """Put an engine to sleep; one that sleeps already is ended."""
        engine.sleep()
        with self._lock:
            before, self._asleep = self._asleep, engine
        if before is not None:
            before.end()

    def end(self) -> bool:
        """End the sleeping engine; whether there was one."""
        with self._lock:
            asleep, self._asleep = self._asleep, None
        if asleep is not None:
            asleep.end()
        return asleep is not None


_HOLDER = _Holder()
atexit.register(_HOLDER.end)


def same_architecture(one: str, other: str) -> bool:
    """Whether the weights of one model's folder fit into the other's model."""
    settings = [read_object(resolve(folder) / "config.json") for folder in (one, other)]
    first, second = ({name: value for name, value in each.items() if name not in UNLIKE} for each in settings)
    return first == second


def _prepare(settings: VLLM) -> None:
    """What vLLM reads from the environment, and what must be there before it starts.

    Raises:
        ValueError: vLLM or GPUs are missing.
    """
    _part("vllm")
    import torch

    found = torch.cuda.device_count()
    if found < settings.tensor_parallel:
        raise ValueError(
            f"{SETTING}: needs {settings.tensor_parallel} GPU(s) (engine.tensor_parallel) of one machine, and this one "
            f"has {found}; set engine.kind = 'local', or 'server' for GPUs elsewhere"
        )
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"  # this process may have used a GPU
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    if settings.batch_invariant:
        os.environ["VLLM_BATCH_INVARIANT"] = "1"


def _part(module: str) -> Any:
    return require(module, extra="vllm", setting=SETTING, library="vllm")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


async def _started(arguments: Mapping[str, Any]) -> Any:
    """vLLM's asynchronous engine, on the event loop that runs this."""
    made = _part("vllm.engine.arg_utils").AsyncEngineArgs(**arguments)
    return _part("vllm.v1.engine.async_llm").AsyncLLM.from_engine_args(made)
