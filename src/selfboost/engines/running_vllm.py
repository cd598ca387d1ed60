"""A running vLLM engine in processes beside this one, and the one that sleeps between two models.

The only module that imports vllm. Not run on a GPU yet.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import queue
import threading
from collections.abc import Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfboost.engines.checkpoint import resolve
from selfboost.engines.kept_models import give_back
from selfboost.engines.weights import read_object
from selfboost.extras import require

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


@dataclass(frozen=True)
class EngineSettings:
    """What an engine is started with, whichever model it holds."""

    arguments: Mapping[str, Any]
    """vLLM's, by its own names, but for `model`."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables that vLLM reads."""

    @property
    def keeps_base(self) -> bool:
        """Whether weights stay in host memory while the engine sleeps, for adapters to be put on."""
        return bool(self.arguments.get("enable_lora"))


def free_bytes() -> dict[str, int]:
    """GPU → bytes that are free on it; empty without GPUs."""
    import torch

    if not torch.cuda.is_available():
        return {}
    torch.cuda.empty_cache()
    return {str(place): torch.cuda.mem_get_info(place)[0] for place in range(torch.cuda.device_count())}


class RunningEngine:
    """vLLM's asynchronous engine on an event loop in a thread of its own."""

    def __init__(self, settings: EngineSettings, folder: str) -> None:
        self.settings, self.folder = settings, folder
        _prepare(settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        self._count = 0
        self._adapter: Any = None
        self._adapters = 0
        self._llm: Any = None
        try:
            self._llm = self._run(_started({"model": folder, **settings.arguments}))
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

    def put_on(self, name: str, folder: str) -> None:
        """Load a LoRA adapter for all requests that follow. `name`: no other adapter's, as the cache goes by it.

        Raises:
            ValueError: vLLM does not take it.
        """
        self._adapters += 1  # an id of its own: one that was loaded before would not be loaded again
        asked = _part("vllm.lora.request").LoRARequest(lora_name=name, lora_int_id=self._adapters, lora_path=folder)
        try:
            self._run(self._llm.add_lora(asked))
        except Exception as error:
            raise ValueError(
                f"{SETTING}: vLLM does not take the adapter {folder!r} ({_first_line(error)}); set "
                "engine.max_lora_rank = 0, which samples from merged weights"
            ) from error
        self._adapter = asked

    def take_off(self) -> None:
        """Drop the adapter, if there is one."""
        asked, self._adapter = self._adapter, None
        if asked is not None:
            self._run(self._llm.remove_lora(asked.lora_int_id))

    def load(self, folder: str) -> None:
        """Wake up with the weights of a model of the same architecture; a kept base is still there.

        Raises:
            ValueError: the engine cannot.
        """
        try:
            self._run(self._llm.wake_up(["weights"]))
            if folder != self.folder or not self.settings.keeps_base:
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
        """Drop the cache and the weights, or put a kept base into host memory; keep the rest."""
        self._run(self._llm.sleep(1 if self.settings.keeps_base else 2))

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
            async for output in self._llm.generate(prompt, parameters, str(self._count), lora_request=self._adapter):
                last = output
        except Exception as error:
            if self._llm.errored:
                raise
            arrived.put((index, _first_line(error)))
            return
        arrived.put((index, last.outputs[0]))


class EngineHolder:
    """The engine that sleeps between two models: at most one in this process."""

    def __init__(self) -> None:
        self._asleep: RunningEngine | None = None
        self._lock = threading.Lock()

    def take(self, settings: EngineSettings, folder: str) -> RunningEngine:
        """An engine with a model: the sleeping one where settings and architecture are the same, else a new one."""
        give_back()
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


HOLDER = EngineHolder()
atexit.register(HOLDER.end)


def same_architecture(one: str, other: str) -> bool:
    """Whether the weights of one model's folder fit into the other's model."""
    settings = [read_object(resolve(folder) / "config.json") for folder in (one, other)]
    first, second = ({name: value for name, value in each.items() if name not in UNLIKE} for each in settings)
    return first == second


def _prepare(settings: EngineSettings) -> None:
    """What vLLM reads from the environment, and what must be there before it starts.

    Raises:
        ValueError: vLLM or GPUs are missing.
    """
    _part("vllm")
    import torch

    found, wanted = torch.cuda.device_count(), int(settings.arguments["tensor_parallel_size"])
    if found < wanted:
        raise ValueError(
            f"{SETTING}: needs {wanted} GPU(s) (engine.tensor_parallel) of one machine, and this one has {found}; set "
            "engine.kind = 'local', or 'server' for GPUs elsewhere"
        )
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"  # this process may have used a GPU
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.update(settings.environment)


def _part(module: str) -> Any:
    return require(module, extra="vllm", setting=SETTING, library="vllm")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


async def _started(arguments: Mapping[str, Any]) -> Any:
    """vLLM's asynchronous engine, on the event loop that runs this."""
    made = _part("vllm.engine.arg_utils").AsyncEngineArgs(**arguments)
    return _part("vllm.v1.engine.async_llm").AsyncLLM.from_engine_args(made)
