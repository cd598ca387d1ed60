"""A stand-in for the parts of vLLM's wheel that the engine imports: greedy decoding by transformers and peft on a CPU.

What sleeps is really gone: level 2 overwrites the weights, so samples after it show whether they were read again. The
wheel's own parameter classes are held to the same names in `test_vllm_wheel.py`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM


@dataclass
class Flat:
    """vLLM's flat log-probabilities, as its FlatLogprobs has them."""

    start_indices: list[int] = field(default_factory=list)
    end_indices: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def add(self, token: int, logp: float) -> None:
        self.start_indices.append(len(self.token_ids))
        self.token_ids.append(token)
        self.logprobs.append(logp)
        self.end_indices.append(len(self.token_ids))


class FakeLLM:
    """An engine with one model and at most one adapter; `calls` says what it was asked for."""

    started: list[FakeLLM] = []  # noqa: RUF012
    refuses = ""
    """What it says of an adapter that it does not take."""

    def __init__(self, arguments: SimpleNamespace) -> None:
        self.arguments, self.calls, self.errored = arguments, [], False
        self._adapters: dict[int, Any] = {}
        self._model = self._read(arguments.model)
        self.started.append(self)

    @classmethod
    def from_engine_args(cls, arguments: SimpleNamespace) -> FakeLLM:
        return cls(arguments)

    @staticmethod
    def _read(folder: str) -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    async def add_lora(self, request: Any) -> bool:
        if self.refuses:
            raise ValueError(self.refuses)
        assert request.lora_int_id not in self._adapters, "vLLM would not load it again"
        self.calls.append("add_lora")
        self._adapters[request.lora_int_id] = peft.PeftModel.from_pretrained(
            self._read(self.arguments.model), request.lora_path
        ).eval()
        return True

    async def remove_lora(self, identity: int) -> bool:
        self.calls.append("remove_lora")
        return self._adapters.pop(identity, None) is not None

    async def sleep(self, level: int) -> None:
        self.calls.append(f"sleep {level}")
        if level == 2:
            with torch.no_grad():
                for parameter in self._model.parameters():
                    parameter.zero_()

    async def wake_up(self, tags: list[str]) -> None:
        self.calls.append(f"wake {tags[0]}")

    async def reset_prefix_cache(self) -> None: ...

    async def collective_rpc(self, method: str, kwargs: dict[str, str]) -> None:
        self.calls.append(method)
        self._model = self._read(kwargs["weights_path"])

    async def generate(
        self, prompt: Any, sampling: Any, request_id: str, *, lora_request: Any = None
    ) -> AsyncIterator[Any]:
        model = self._adapters[lora_request.lora_int_id] if lora_request else self._model
        ids, flat = list(prompt.prompt_token_ids), Flat()
        while len(flat.token_ids) < sampling.max_tokens:
            with torch.no_grad():
                logps_V = model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            token = int(logps_V.argmax())
            flat.add(token, float(logps_V[token]))
            ids.append(token)
            if token in sampling.stop_token_ids:
                break
        yield SimpleNamespace(outputs=[SimpleNamespace(token_ids=flat.token_ids, logprobs=flat)])

    def shutdown(self) -> None:
        self.calls.append("shutdown")


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import vllm` find the stand-in, on a machine with one GPU."""
    parts: dict[str, dict[str, Any]] = {
        "vllm": {},
        "vllm.engine": {},
        "vllm.engine.arg_utils": {"AsyncEngineArgs": SimpleNamespace},
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.async_llm": {"AsyncLLM": FakeLLM},
        "vllm.sampling_params": {
            "SamplingParams": SimpleNamespace,
            "RequestOutputKind": SimpleNamespace(FINAL_ONLY=2),
        },
        "vllm.inputs": {"TokensPrompt": SimpleNamespace},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": SimpleNamespace},
    }
    for name, held in parts.items():
        module = ModuleType(name)
        module.__dict__.update(held)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(FakeLLM, "started", [])
